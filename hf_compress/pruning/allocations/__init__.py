"""One file per allocation; see docs/adding-a-method.md for how to add one."""
