"""The modules that can be trained quantized, one file each; see docs/adding-a-scheme.md for how to add one."""
