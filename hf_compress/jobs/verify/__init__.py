"""Whether a published folder is what its card says."""
