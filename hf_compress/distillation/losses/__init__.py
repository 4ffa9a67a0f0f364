"""One file per distillation loss; see docs/adding-a-loss.md for how to add one."""
