"""What the machine answers."""
