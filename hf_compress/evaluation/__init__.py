"""Measuring a model: quality on a split, size on disk, and the report that says both."""
