"""One file per combiner; see docs/adding-a-method.md for how to add one."""
