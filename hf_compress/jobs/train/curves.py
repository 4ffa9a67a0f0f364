"""What a training logged, for the report's pictures."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from hf_compress._units import resolve_point
from hf_compress.training.compression import Compression

_DRAWN = ("loss", "eval_loss", "learning_rate", "sparsity", "task_loss", "distillation_loss")
_MOST = 1000
"""Entries that a picture can show apart."""


def curves(history: Sequence[dict[str, Any]]) -> tuple[dict[str, float], ...]:
    """The logged entries with what is drawn of them and their step; of very many every n-th.

    Args:
        history: the Trainer's `state.log_history`.
    """
    found = []
    for entry in history:
        drawn = {key: float(entry[key]) for key in _DRAWN if key in entry and math.isfinite(entry[key])}
        if drawn and "step" in entry:
            found.append({"step": entry["step"], **drawn})
    return tuple(found[:: math.ceil(len(found) / _MOST)]) if found else ()


def marks(compression: Compression, history: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The step at which quantization begins, in a run that is as long as its log.

    Args:
        compression: what the training did.
        history: the Trainer's `state.log_history`.
    """
    last = max((entry["step"] for entry in history if "step" in entry), default=0)
    if compression.quantization is None or not last:
        return {}
    return {"quantization begins": resolve_point(compression.quantization.begin, last)}
