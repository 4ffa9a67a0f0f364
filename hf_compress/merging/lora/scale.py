"""The numbers that adapter_config.json gives a module: its rank, and what scales its factors."""

import math
import re
from collections.abc import Mapping
from typing import Any

from hf_compress._errors import CompressionError

CONFIG = "adapter_config.json"


def pattern_value(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """What rank_pattern or alpha_pattern says of a module, by PEFT's rule.

    The first key that matches, as a regular expression, the whole name or its end after a dot.

    Raises:
        CompressionError: a key is not a regular expression.
    """
    for key, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({key})$", module):
                return value
        except re.error as error:
            raise CompressionError(f"{CONFIG}: the pattern {key!r} is not a regular expression: {error}") from error
    return patterns.get(module, default)


def scale_of(config: Mapping[str, Any], module: str, rank: int, place: str) -> float:
    """Alpha / R, or alpha / sqrt(R) with use_rslora; patterns considered.

    Raises:
        CompressionError: alpha is not a number.
    """
    alpha = pattern_value(config.get("alpha_pattern") or {}, module, config.get("lora_alpha", 8))
    if not isinstance(alpha, int | float):
        raise CompressionError(f"{place}: {CONFIG} gives {module} alpha {alpha!r}, which is not a number; write one")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
