"""The hidden states' channels: which dimensions of which tensors run along them, and what each channel is worth.

All blocks read and write one stream of hidden states, so one choice of channels holds for the whole model.
"""

from collections.abc import Iterable, Mapping
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
from hf_compress.pruning.shrink.importance import most_important
from hf_compress.pruning.shrink.plan import Importance
from hf_compress.pruning.shrink.taylor import loss_change

Along = Mapping[str, tuple[int, ...]]
"""Name of a tensor -> its dimensions that run along the channels."""


def best_channels(
    model: Any, along: Along, count: int, batches: Iterable[Mapping[str, Any]] | None, importance: Importance
) -> tuple[int, ...]:
    """The places of the channels worth most, ascending.

    Args:
        model: to choose from.
        along: of its tensors, those that stay.
        count: how many channels stay.
        batches: they are measured on; None where nothing is.
        importance: weights: `channel_norm`; activations: `channel_activity`; taylor: `loss_change` of the norms, summed.

    Raises:
        CompressionError: what they are worth is not finite, or no norm gave anything on the batches.
    """
    if batches is None or importance == "weights":
        score = channel_norm({name: tensor for name, tensor in model.state_dict().items() if name in along}, along)
    else:
        weights = [name for name, dimensions in along.items() if dimensions == (0,) and name.endswith(".weight")]
        owners = {name.removesuffix(".weight"): model.get_submodule(name.removesuffix(".weight")) for name in weights}
        norms = {name: one for name, one in owners.items() if one.weight.dim() == 1}
        if importance == "taylor":
            score = torch.stack(list(loss_change(model, norms, batches).values())).sum(0)
        else:
            score = channel_activity(model, norms, batches)
    return most_important(score, count, "channels of the hidden states")


@torch.no_grad()
def channel_norm(tensors: Mapping[str, Tensor], along: Along) -> Tensor:
    """score_c = sum over tensors of ||W_c||**2, W_c what goes with channel c: rows, columns, norms, biases.

    Source: Fang et al. 2023, DepGraph: the norm of a group of weights that go together.

    Args:
        tensors: that run along the channels; one that is shared counts once.
        along: where.

    Returns:
        (C,) fp32.
    """
    squares, seen = [], set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        for dimension in along[name]:
            squares.append(
                tensor.float().square().movedim(dimension, 0).flatten(1).sum(1)
                if tensor.dim() > 1
                else tensor.float().square()
            )
    return torch.stack([square.to(squares[0].device) for square in squares]).sum(0)


@torch.no_grad()
def channel_activity(model: nn.Module, norms: Mapping[str, nn.Module], batches: Iterable[Mapping[str, Any]]) -> Tensor:
    """score_c = sum over norms of mean |norm(x)_c| over all tokens, padding left out.

    Source: Muralidharan et al. 2024, Minitron, section 2.2, with the mean over tokens and the sum over norms.

    Args:
        model: runs over the batches, in evaluation mode.
        norms: of it, by name; each gives (..., C).
        batches: keyword arguments of the model; of several processes each brings its own.

    Returns:
        (C,) fp32.

    Raises:
        CompressionError: no norm ran.
    """
    totals: dict[str, Tensor] = {}
    counts = dict.fromkeys(norms, 0)
    masks: list[Tensor] = []

    def hook_of(name: str) -> Any:
        def hook(norm: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            gave = first_tensor(output)
            if gave is not None:
                rows = rows_of(name, norm, gave, masks)
                sums = rows.float().abs().sum(0, dtype=torch.float64)
                totals[name] = totals[name] + sums if name in totals else sums
                counts[name] += len(rows)

        return hook

    hooks = [norm.register_forward_hook(hook_of(name)) for name, norm in norms.items()]
    with removed_afterwards(hooks), evaluating_without_gradients(model):
        device = next(model.parameters()).device
        for batch in batches:
            masks[:] = masks_of(model, batch)
            model(**forward_arguments(model, on_device(batch, device)))
    # Of several processes each has run its own batches; added up in one order, all end with the same bits.
    everyone = _distributed.gather(({name: total.cpu() for name, total in totals.items()}, counts))
    found = []
    for name in norms:
        seen = [(sums[name], number[name]) for sums, number in everyone if name in sums]
        if seen:
            found.append(torch.stack([total for total, _ in seen]).sum(0) / sum(number for _, number in seen))
    if not found:
        raise CompressionError("calibration: no batch reaches a norm of the hidden states, so what is in them is not known")
    return torch.stack(found).sum(0).float()
