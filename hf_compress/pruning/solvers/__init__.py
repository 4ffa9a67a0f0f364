"""Ways to prune a layer and correct what stays; one file each. docs/adding-a-method.md says how to add one."""
