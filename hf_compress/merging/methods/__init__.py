"""One file per merge method; see docs/adding-a-method.md for how to add one."""
