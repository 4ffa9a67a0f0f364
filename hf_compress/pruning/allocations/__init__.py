"""One file per allocation; see docs/pruning.md for how to add one."""
