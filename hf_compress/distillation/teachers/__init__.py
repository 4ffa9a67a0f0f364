"""One file per kind of teacher; see docs/adding-a-loss.md for how to add one."""
