"""Inputs: data, models, tokenizers and processors that a recipe names outside itself."""
