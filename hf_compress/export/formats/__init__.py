"""The export formats, one file each; see docs/adding-a-scheme.md for how to add one."""
