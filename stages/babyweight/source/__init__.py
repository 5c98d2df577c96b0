"""Births as they come: from CSV files anywhere or drawn, as blocks of a byte a feature."""
