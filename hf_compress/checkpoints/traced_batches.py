"""What a model is followed on, when it becomes a graph."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._forward.probe import unpadded_inputs


def batches_to_trace(model: Any, example: Mapping[str, Any] | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two batches that differ in every axis that may differ: the number of rows, and the length where it is open.

    Args:
        model: with a config.
        example: a batch in use. What it has beside the model's main input, and in its shape (masks of sound, types of
            tokens), the batches have too, because a graph takes nothing that it was not traced with.

    Raises:
        CompressionError: none can be made from the model's config.
    """
    first = unpadded_inputs(model, 2)
    # Samples of sound come in hundreds, and layers of strides swallow a handful of them.
    longer = 11 if first is None or "input_values" not in first else first["input_values"].shape[-1] * 3 // 2
    second = unpadded_inputs(model, 3, longer)
    if first is None or second is None:
        raise CompressionError(
            f"{type(model).__name__}: no batch can be made from its config, and an exporter follows the model on one"
        )
    given = {name: value for name, value in (example or {}).items() if isinstance(value, Tensor) and name != "labels"}
    for name, value in given.items():
        like = next((one for one in first if one in given and given[one].shape == value.shape), None)
        if name not in first and like is not None:
            usual = int(name.startswith("attention_mask"))
            for batch in (first, second):
                batch[name] = torch.full_like(batch[like], usual, dtype=value.dtype)
    return first, second
