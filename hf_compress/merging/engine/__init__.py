"""The merge engine: inputs opened, tensors computed and written, the result checked."""
