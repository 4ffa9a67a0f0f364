"""Weights of a mixture that are found on data."""
