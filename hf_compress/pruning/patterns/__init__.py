"""One file per pattern; see docs/pruning.md for how to add one."""
