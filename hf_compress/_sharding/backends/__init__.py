"""The ways in which tensors lie in processes, one file each; see docs/adding-a-shard-backend.md for how to add one."""
