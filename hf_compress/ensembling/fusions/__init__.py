"""Fusions, one file each; see docs/adding-a-method.md for how to add one."""
