"""Shrinking: whole feed-forward units, heads and layers are taken out, and a smaller stock model remains."""
