"""One file per job a recipe can name."""
