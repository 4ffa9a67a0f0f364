"""Modules of a model: which ones a setting means, the matrix inside each, and the type they are stored in."""
