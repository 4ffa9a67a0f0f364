"""Where the parts of a transformer are, one file per family; docs/adding-an-architecture.md says how to add one."""
