"""A batch as a model takes it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def model_inputs(batch: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """A batch without its labels, on the model's device, floating-point inputs in the model's type.

    Pixels and spectrograms come in fp32, and a checkpoint in 16 bits takes no others than its own.

    Args:
        batch: tensors, and numbers (the longest of several sequences in a row), by the names of the forward's arguments.
        model: its first floating-point parameter says the type.
    """
    first = next(model.parameters())
    dtype = next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), first.dtype)
    return {
        key: value.to(first.device, dtype if value.is_floating_point() else value.dtype)
        if isinstance(value, Tensor)
        else value
        for key, value in batch.items()
        if key != "labels"
    }
