"""The schemes: a table of compressed-tensors' presets, and a file for each that training adds something to.

See docs/adding-a-scheme.md for how to add one.
"""
