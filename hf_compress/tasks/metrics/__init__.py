"""Metrics: a model's predictions as numbers."""
