"""The rows that enter a layer: (N, I), column by column what the columns of its weight matrix are multiplied with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError


def is_convolution(module: nn.Module) -> bool:
    """Whether its weight has a kernel."""
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)


def check_rows(modules: Mapping[str, nn.Module]) -> None:
    """Refuse layers whose outputs do not all read the same inputs.

    Raises:
        CompressionError: a convolution has groups.
    """
    for name, module in modules.items():
        groups = getattr(module, "groups", 1)
        if is_convolution(module) and groups > 1:
            raise CompressionError(
                f"{name} is a convolution of {groups} groups that read different inputs, and statistics of inputs are for"
                f" layers whose outputs share theirs; add '{name}' to ignore, or use a criterion that needs no statistics"
            )


def masks_of(model: nn.Module, batch: Mapping[str, Any]) -> list[Tensor]:
    """The encoder's and the decoder's mask of a batch, bool; a decoder without one has no padding."""
    masks = [batch[key].bool() for key in ("attention_mask", "decoder_attention_mask") if key in batch]
    inputs = batch.get("decoder_input_ids", batch.get("labels"))
    separate = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if separate and "decoder_attention_mask" not in batch and inputs is not None:
        masks.append(torch.ones_like(inputs, dtype=torch.bool))
    return masks


def rows_of(name: str, module: nn.Module, inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """A layer's inputs as (N, I) without padding; inputs that no mask fits, such as pooled ones, are kept whole.

    Raises:
        CompressionError: an encoder's and a decoder's mask both fit and differ.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        inputs = unfold(module, inputs)
    leading = inputs.shape[:-1]
    fitting = [mask for mask in masks if tuple(mask.shape) == tuple(leading) or (mask.numel(),) == tuple(leading)]
    if len(fitting) == 2 and not torch.equal(*fitting):
        raise CompressionError(
            f"{name}: the masks of the encoder and the decoder have the same shape {tuple(fitting[0].shape)} and differ, so"
            " it is unclear which one it needs; pad one of the two further, e.g. with pad_to_multiple_of"
        )
    rows = inputs.reshape(-1, inputs.shape[-1])
    return rows[fitting[0].reshape(-1).to(rows.device)] if fitting else rows


def unfold(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> Tensor:
    """(B, C, positions...) -> (B, output positions..., C * K): the patches that a convolution multiplies with its kernel.

    Args:
        module: a convolution of one group.
        inputs: with or without the batch dimension, as the module takes them.
    """
    dims = len(module.kernel_size)
    if inputs.dim() == dims + 1:
        inputs = inputs[None]
    sides = [side for place in reversed(range(dims)) for side in _padding(module, place)]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    patches = functional.pad(inputs, sides, mode=mode) if any(sides) else inputs
    for place in range(dims):
        span = (module.kernel_size[place] - 1) * module.dilation[place] + 1
        patches = patches.unfold(2 + place, span, module.stride[place])[..., :: module.dilation[place]]
    # (B, C, positions..., kernel...) with the kernel's dimensions in their order.
    order = [0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims)]
    return patches.permute(order).flatten(1 + dims)


def _padding(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, place: int) -> tuple[int, int]:
    """How many positions are added before and after one dimension."""
    if module.padding == "valid":
        return 0, 0
    if isinstance(module.padding, str):  # "same": an odd one goes to the end
        total = module.dilation[place] * (module.kernel_size[place] - 1)
        return total // 2, total - total // 2
    return int(module.padding[place]), int(module.padding[place])
