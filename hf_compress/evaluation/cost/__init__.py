"""What a checkpoint costs: bytes, operations, time and memory."""
