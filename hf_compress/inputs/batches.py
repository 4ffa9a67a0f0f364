"""A batch as a model takes it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._forward.batch import on_device


def model_inputs(batch: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """A batch without its labels, on the model's device, floating-point inputs in the model's type.

    Args:
        batch: tensors, and numbers (the longest of several sequences in a row), by the names of the forward's arguments.
        model: see `cast_inputs`.
    """
    device = next(model.parameters()).device
    inputs = {key: value for key, value in cast_inputs(batch, model).items() if key != "labels"}
    return on_device(inputs, device)


def forward_inputs(batch: Mapping[str, Any], model: nn.Module, generates: bool) -> dict[str, Any]:
    """What one forward of a model takes: of one that writes its labels too, because its decoder reads what comes before.

    Args:
        batch: see `model_inputs`.
        model: see `cast_inputs`.
        generates: the model's task is to write.
    """
    inputs = model_inputs(batch, model)
    return {**inputs, "labels": batch["labels"].to(next(model.parameters()).device)} if generates else inputs


def cast_inputs(batch: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """A batch whose floating-point tensors, but for labels, have the model's type.

    Pixels and spectrograms come in fp32, and a checkpoint in 16 bits takes no others than its own.

    Args:
        batch: see `model_inputs`.
        model: its first floating-point parameter says the type; without one all stays.
    """
    floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    dtype = next(floating, None)
    return {
        key: value.to(dtype) if dtype is not None and _is_floating(value) and "label" not in key else value
        for key, value in batch.items()
    }


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and torch.is_floating_point(value)


class Casting:
    """A collator whose batches are cast, as a caller of a 16-bit model would pass them.

    Args:
        collator: rows -> batch.
        model: see `cast_inputs`.
    """

    def __init__(self, collator: Any, model: nn.Module) -> None:
        self.collator, self.model = collator, model

    def __call__(self, rows: Any) -> dict[str, Any]:
        """See `cast_inputs`."""
        return cast_inputs(self.collator(rows), self.model)
