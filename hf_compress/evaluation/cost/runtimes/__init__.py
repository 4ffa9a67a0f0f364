"""The runtimes that costs are measured with, one file each; see docs/adding-a-scheme.md for how to add one."""
