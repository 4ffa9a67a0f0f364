"""Built-in tasks, one file each; see docs/adding-a-task.md for how to add one."""
