"""Compression without training: the row that says what the training is worth."""

from collections.abc import Iterable
from typing import Any

import torch

from hf_compress._modules.types import cast_weights
from hf_compress.pruning.prune import prune
from hf_compress.quantization.ptq import quantize
from hf_compress.training.compression import Compression


def compress_untrained(
    model: Any, compression: Compression, dtype: str, batches: Iterable[Any] | None, device: torch.device
) -> None:
    """Prune and round a dense model in one go, in place.

    Args:
        model: dense, on the CPU; stays there.
        compression: what its training would have done.
        dtype: of everything that is not quantized.
        batches: of the calibration, None without one.
        device: where a criterion's statistics are collected.
    """
    if compression.pruning is not None:
        needs_data = bool(compression.pruning.criterion.needs)
        if needs_data:
            model.to(device)
        prune(model, compression.pruning, batches)
        if needs_data:
            model.cpu()
    cast_weights(model, dtype)
    if compression.quantization is not None:
        quantize(model, compression.quantization)
