"""Built-in statistics, one per file; docs/adding-a-statistic.md says how to add one."""
