"""Built-in metrics, one file each; see docs/adding-a-metric.md for how to add one."""
