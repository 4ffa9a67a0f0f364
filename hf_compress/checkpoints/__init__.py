"""Checkpoints as named tensors, and what lies beside them."""
