"""One file per merge method; see docs/merging.md for how to add one."""
