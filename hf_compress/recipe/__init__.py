"""Recipes: YAML that maps one to one to objects; the parser knows no technique."""
