"""One file per pattern; see docs/adding-a-method.md for how to add one."""
