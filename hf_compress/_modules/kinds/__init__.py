"""The kinds of modules with a weight matrix, one file each; see docs/adding-a-method.md for how to add one."""
