"""Merging: several checkpoints into one, on checkpoint keys, so that any architecture and modality merges."""
