"""What becomes of every tensor, and with which numbers."""
