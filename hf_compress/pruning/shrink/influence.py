"""What a block changes in the hidden states that pass through it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._modules.hooks import removed_afterwards
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress.calibration.chains import first_tensor, forward_arguments
from hf_compress.calibration.input_rows import masks_of, rows_of


def block_influence(model: nn.Module, blocks: Sequence[nn.Module], batches: Iterable[Mapping[str, Any]]) -> list[float]:
    """1 - mean cos(x_in, x_out) of each block over all tokens, padding left out (Men et al. 2024, ShortGPT, eq. 1).

    Args:
        model: runs over the batches, in evaluation mode.
        blocks: of it; each takes hidden states (B, T, H) first and returns such.
        batches: keyword arguments of the model; of several processes each brings its own.

    Returns:
        One number in [0, 2] for each block; the smaller, the less would be missing.

    Raises:
        CompressionError: there is no batch, or a block did not run in it.
    """
    sums, counts = [0.0] * len(blocks), [0] * len(blocks)
    masks: list[Tensor] = []

    def hook_of(place: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            entered = first_tensor(args) if args else kwargs.get("hidden_states")
            left = first_tensor(output)
            if entered is None or left is None:
                return
            before, after = (rows_of(f"block {place}", block, states, masks).float() for states in (entered, left))
            sums[place] += float((1 - nn.functional.cosine_similarity(before, after)).sum(dtype=torch.float64))
            counts[place] += len(before)

        return hook

    hooks = [block.register_forward_hook(hook_of(place), with_kwargs=True) for place, block in enumerate(blocks)]
    with removed_afterwards(hooks), torch.no_grad(), evaluating_without_gradients(model):
        device = next(model.parameters()).device
        for batch in batches:
            masks[:] = masks_of(model, batch)
            model(**forward_arguments(model, on_device(batch, device)))
    # Of several processes each has run its own batches; added up in one order, all end with the same bits.
    everyone = _distributed.gather((sums, counts))
    sums, counts = ([sum(column) for column in zip(*parts, strict=True)] for parts in zip(*everyone, strict=True))
    if not all(counts):
        raise CompressionError(
            f"calibration shows layer {counts.index(0)} no token; give batches of keyword arguments, at least one"
        )
    found = [total / count for total, count in zip(sums, counts, strict=True)]
    if not all(value == value for value in found):
        raise CompressionError("calibration: hidden states are NaN or infinite, so the influence of layers is not known")
    return found
