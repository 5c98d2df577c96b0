"""An agent that learns to balance a pole."""
