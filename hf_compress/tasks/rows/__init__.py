"""Kinds of rows, one file each; see docs/adding-a-loss.md for how to add one."""
