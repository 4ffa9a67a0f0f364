"""Writing results: the export formats, merged and requantized checkpoints, and the model card."""
