"""Multiplications with an addition in one forward pass."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hf_compress._modules.modes import evaluating_without_gradients


def count_macs(model: nn.Module, batch: Mapping[str, Tensor]) -> int:
    """MACs of `model(**batch)`: the floating operations that torch's FlopCounterMode counts, halved.

    Counted are products of matrices, convolutions and attention; additions, norms and activations are not. Attention is
    counted over every pair of positions, masked or not: B x H x T_query x T_key x (D_key + D_value). Zeros are multiplied
    like any other number.

    Args:
        model: with memory, on the device of the batch.
        batch: one.
    """
    aten = torch.ops.aten
    # The CPU's own attention, which FlopCounterMode of torch 2.13 does not know: it would count nothing for it.
    mapping = {aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with counter, torch.no_grad(), evaluating_without_gradients(model):
        model(**batch)
    return counter.get_total_flops() // 2


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Of shapes (B, H, T, D); keys of grouped heads are shared, so the query's heads count."""
    batch, heads, queries, width = query
    return int(2 * batch * heads * queries * key[-2] * (width + value[-1]))
