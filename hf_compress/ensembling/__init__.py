"""Ensembling: several models answer as one, in parallel, one after the other, or both."""
