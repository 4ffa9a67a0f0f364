"""Shrinking: whole units, heads, experts, layers, channels and rows of the vocabulary go; a smaller stock model stays."""
