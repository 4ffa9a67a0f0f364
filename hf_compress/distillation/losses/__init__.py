"""One file per distillation loss; see docs/distillation.md for how to add one."""
