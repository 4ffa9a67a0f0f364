"""The modules that can be trained quantized, one file each; see docs/adding-a-method.md for how to add one."""
