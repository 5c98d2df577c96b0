"""Images of digits as they come: fetched, or from files here."""
