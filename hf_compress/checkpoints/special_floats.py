"""Infinity and NaN in config.json, which transformers writes as {"__float__": "Infinity"}: JSON has no such numbers."""

import math
from typing import Any

_TAG = "__float__"
_VALUES = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def decode_floats(data: Any) -> Any:
    """The data with numbers in place of their tags, as `from_pretrained` reads it.

    Args:
        data: what a JSON file holds.
    """
    if isinstance(data, dict):
        tag = data.get(_TAG)
        if len(data) == 1 and isinstance(tag, str) and tag in _VALUES:
            return _VALUES[tag]
        return {key: decode_floats(value) for key, value in data.items()}
    return [decode_floats(value) for value in data] if isinstance(data, list) else data


def encode_floats(data: Any) -> Any:
    """The reverse, as `save_pretrained` writes it: what every JSON reader takes."""
    if isinstance(data, dict):
        return {key: encode_floats(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [encode_floats(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return {_TAG: "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"}
    return data
