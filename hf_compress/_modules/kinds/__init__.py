"""The kinds of modules with a weight matrix, one file each; see docs/adding-a-scheme.md for how to add one."""
