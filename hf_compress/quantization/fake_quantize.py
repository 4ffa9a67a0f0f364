"""Straight-through fake quantization with compressed-tensors' own arithmetic.

The numbers come from compressed-tensors' `calculate_qparams` and `fake_quantize`, the functions a loaded checkpoint is
decompressed with, so the training forward equals the reloaded model. Those run without gradients; the straight-through
estimator (Bengio, Leonard, Courville 2013, section 2.3) passes the gradient through unchanged.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationArgs


class _StraightThrough(torch.autograd.Function):
    """forward: the quantized value; backward: the identity. Exact, where w + (q - w).detach() rounds twice."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, quantized: Tensor) -> Tensor:
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@torch.no_grad()
def weight_qparams(weight: Tensor, args: "QuantizationArgs") -> tuple[Tensor, Tensor, Tensor | None]:
    """Scale, zero point and global scale of a weight by its minimum and maximum.

    Args:
        weight: (O, I).
        args: the weight part of a scheme.

    Returns:
        scale and zero_point of shape (1,) per tensor, (O, 1) per channel, (O, I / group) per group; the global scale, (1,),
        for schemes with two levels, else None. int4: scale = max|w| / 7.5 (the range -8..7 is 15 steps wide).

    Raises:
        CompressionError: the group does not divide I, or the strategy is not one of the above.
    """
    from compressed_tensors.quantization import QuantizationStrategy
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    global_scale = None
    if args.strategy in (QuantizationStrategy.GROUP, QuantizationStrategy.TENSOR_GROUP):
        minimum, maximum = torch.aminmax(weight.unflatten(-1, (-1, args.group_size)), dim=-1)
        if args.strategy == QuantizationStrategy.TENSOR_GROUP:
            global_scale = generate_gparam(minimum.amin(), maximum.amax())
    elif args.strategy == QuantizationStrategy.CHANNEL:
        minimum, maximum = torch.aminmax(weight, dim=-1, keepdim=True)
    elif args.strategy == QuantizationStrategy.TENSOR:
        minimum, maximum = torch.aminmax(weight)
    else:
        raise CompressionError(f"weights with strategy {args.strategy!r} cannot be trained; use tensor, channel or group")
    scale, zero_point = calculate_qparams(minimum, maximum, args, global_scale=global_scale)
    # The checkpoint stores scales in the weight's type; training with finer ones would train another model.
    return scale.to(weight.dtype) if args.scale_dtype is None else scale, zero_point, global_scale


def fake_quantize_weight(weight: Tensor, args: "QuantizationArgs") -> Tensor:
    """(O, I) -> (O, I): the weight as the checkpoint will hold it, in the same type; gradient passes straight through."""
    from compressed_tensors.quantization import fake_quantize

    scale, zero_point, global_scale = weight_qparams(weight, args)
    quantized = fake_quantize(
        weight.detach(), scale, None if args.symmetric else zero_point, args, global_scale=global_scale
    )
    return _StraightThrough.apply(weight, quantized.to(weight.dtype))


def fake_quantize_input(value: Tensor, args: "QuantizationArgs", module: torch.nn.Module) -> Tensor:
    """(..., I) -> (..., I): the activation as the served model will see it; dynamic ranges only."""
    from compressed_tensors.quantization import fake_quantize
    from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp

    with torch.no_grad():
        scale, zero_point = compute_dynamic_scales_and_zp(value.detach(), args, module)
        quantized = fake_quantize(value.detach(), scale, zero_point, args)
    return _StraightThrough.apply(value, quantized.to(value.dtype))
