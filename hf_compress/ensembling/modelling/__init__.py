"""What an ensemble is as a model of transformers: the code that travels with every saved one.

These files, with `combiner.py`, `confidence.py` and the strategies of both, become one self-contained file beside the
weights (`code.py`), so that `trust_remote_code=True` loads an ensemble where this package is not installed. They import
torch, transformers, safetensors and each other, and nothing else of this package but what `standalone.py` stands in for.
"""
