"""One file per schedule; see docs/pruning.md for how to add one."""
