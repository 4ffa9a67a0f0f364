"""One file per criterion; see docs/adding-a-method.md for how to add one."""
