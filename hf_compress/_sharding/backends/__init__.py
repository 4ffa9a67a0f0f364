"""The ways in which tensors lie in processes, one file each; see docs/design.md, "Sharding", for how to add one."""
