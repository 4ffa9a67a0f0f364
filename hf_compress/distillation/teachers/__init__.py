"""One file per kind of teacher; see docs/distillation.md."""
