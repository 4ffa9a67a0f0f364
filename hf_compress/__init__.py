"""hf_compress: pruning, quantization-aware training and distillation inside the transformers Trainer, and model merging.

Public names are imported on first use, so that `import hf_compress` and `hf-compress --help` stay instant. Which there are
says `_public.py`.
"""

import importlib
from typing import Any

from hf_compress._public import homes
from hf_compress._version import __version__ as __version__


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return ["__version__", *homes()]
    home = None if name.startswith("_") else homes().get(name)
    if home is None:
        raise AttributeError(f"module 'hf_compress' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return ["__version__", *homes()]
