"""How members of an ensemble come to differ, one way a file. How to add one: docs/adding-a-method.md."""
