"""One file per schedule; see docs/adding-a-method.md for how to add one."""
