"""One file per criterion; see docs/pruning.md for how to add one."""
