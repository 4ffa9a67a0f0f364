"""Writing results: dense or compressed-tensors checkpoints, the manifest and the model card."""
