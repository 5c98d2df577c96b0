"""A baby's weight at birth, from what is known before it."""
