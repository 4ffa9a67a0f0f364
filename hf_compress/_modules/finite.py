"""Weights that are no numbers are refused by name before anything is rounded or written."""

import math

import numpy
import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.types import floating_type
from hf_compress._sharding.contract import full_shape, local, reshard, sharding_of


@torch.no_grad()
def check_finite(model: nn.Module, dtype: str = "auto") -> None:
    """Refuse NaN and infinity in the model's parameters, and values that a cast to `dtype` would make infinite.

    Of a sharded model every process must call it, and all refuse alike.

    Args:
        model: only read; parameters without values (meta) and those that are no floating numbers are left out.
        dtype: "auto" for no cast, or a floating torch type's name.

    Raises:
        CompressionError: naming the first parameter; or `dtype` names no floating torch type.
    """
    reshard(model)
    target = torch.finfo(floating_type(dtype)) if dtype != "auto" else None
    for name, parameter in model.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
            continue
        if not full_shape(parameter).numel():
            continue
        largest = _largest(parameter)
        if not math.isfinite(largest):
            raise CompressionError(
                f"{name} holds NaN or infinity, which no scheme and no checkpoint should; where a training made them it has"
                " diverged: go back to an earlier checkpoint, or train again with a lower learning rate"
            )
        if target is not None and largest > target.max:
            raise CompressionError(
                f"{name} reaches {largest:.4g}, and {dtype} ends at {target.max:.4g}; store it with dtype='bfloat16' or"
                " 'float32'"
            )


def _largest(parameter: Tensor) -> float:
    """Max |w| over all processes; NaN where one is."""
    part = local(parameter)
    own = [value.double().item() for value in torch.aminmax(part)] if part.numel() else []  # aminmax hands NaN on
    return float(numpy.abs(sharding_of(parameter).across(parameter).joined(numpy.array(own))).max())
