"""Recipes: YAML that maps one to one to the objects of the library."""
