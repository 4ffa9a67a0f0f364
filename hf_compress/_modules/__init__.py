"""Modules of a model: which ones a setting means, the matrix inside each, their types, and their share of the weights."""
