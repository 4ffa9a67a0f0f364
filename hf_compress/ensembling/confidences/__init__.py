"""One file per confidence; see docs/adding-a-method.md for how to add one."""
