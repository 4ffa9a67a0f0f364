"""The rows that enter a layer: (N, I), column by column what the columns of its weight matrix are multiplied with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.module_kind import in_groups, kind_of


def check_rows(modules: Mapping[str, nn.Module]) -> None:
    """Refuse layers whose outputs do not all read the same inputs.

    Raises:
        CompressionError: a convolution has groups.
    """
    for name, module in modules.items():
        if in_groups(module):
            raise CompressionError(
                f"{name} is a convolution of {module.groups} groups that read different inputs, and statistics of inputs"
                f" are for layers whose outputs share theirs; add '{name}' to ignore, or use what needs none of inputs"
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
    kind = kind_of(module)
    if kind is not None:
        inputs = kind.input_rows(module, inputs)
    leading = inputs.shape[:-1]
    fitting = [mask for mask in masks if tuple(mask.shape) == tuple(leading) or (mask.numel(),) == tuple(leading)]
    if len(fitting) == 2 and not torch.equal(*fitting):
        raise CompressionError(
            f"{name}: the masks of the encoder and the decoder have the same shape {tuple(fitting[0].shape)} and differ, so"
            " it is unclear which one it needs; pad one of the two further, e.g. with pad_to_multiple_of"
        )
    rows = inputs.reshape(-1, inputs.shape[-1])
    return rows[fitting[0].reshape(-1).to(rows.device)] if fitting else rows
