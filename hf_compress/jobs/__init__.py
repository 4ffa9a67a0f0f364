"""Jobs: what a recipe can ask for, one file or folder each."""
