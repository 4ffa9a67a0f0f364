"""Tasks: how rows become examples, logits become rows, and predictions become numbers."""
