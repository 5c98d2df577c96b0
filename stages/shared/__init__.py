"""What several stages call."""
