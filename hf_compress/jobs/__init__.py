"""Jobs: what a recipe can ask for, one file or folder each; see docs/adding-a-job.md for how to add one."""
