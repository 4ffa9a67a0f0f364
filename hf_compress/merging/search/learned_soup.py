"""Learned soup: mixing coefficients by gradient descent on a loss."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.modes import evaluation_mode
from hf_compress.checkpoints.source import Source
from hf_compress.merging.engine.in_memory import Tensors, as_tensors, merge_state_dicts
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.coefficients import Found, Granularity
from hf_compress.merging.search.mixture import Loss, Mixture, cycle, loss_and_gradients, own_tensors


def learned_soup(
    members: Mapping[str, Source | Tensors],
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    *,
    loss: Loss | None = None,
    granularity: Granularity = "model",
    steps: int = 100,
    learning_rate: float = 0.1,
) -> Found:
    """Mixes theta = sum_i softmax(a[g])_i * theta_i, with a learned by AdamW on a held-out loss, from equal shares.

    Args:
        members: label -> state dict with the names of `model.state_dict()`, or a checkpoint whose names are the same.
        model: the architecture; its own weights are neither used nor changed, and it runs in evaluation mode.
        batches: held-out batches, keyword arguments of the model; gone through again when they end.
        loss: (output, batch) -> scalar; None = the output's own `loss`, for batches with labels.
        granularity: one set of shares for the model, per layer, or per tensor.
        steps: optimizer steps, one batch each.
        learning_rate: of AdamW.

    Returns:
        The weights with `Linear`; the score is minus the mean loss of the last quarter of the steps. The history holds
        {"step": s} and the loss. Integer buffers are the first member's.

    Raises:
        CompressionError: there are no members, steps or batches, a member lacks a parameter of the model, or the loss is
            not a finite number.

    Source: Wortsman et al. 2022, appendix on learned soups; the shares alone, without its learned temperature, which does
    not change the class that is largest.
    """
    if not members:
        raise CompressionError("members is empty; a soup needs at least one model")
    labels = list(members)
    states = [own_tensors(model, label, as_tensors(member)) for label, member in members.items()]
    mixture = Mixture(states, None, granularity)
    shares = torch.zeros(len(mixture.groups), len(labels), requires_grad=True)
    optimizer = torch.optim.AdamW([shares], lr=learning_rate, weight_decay=0.0)
    history: list[tuple[dict[str, float], float]] = []
    with evaluation_mode(model):
        for step, batch in enumerate(cycle(batches, steps)):
            mixing = shares.softmax(1)
            value, gradients = loss_and_gradients(model, mixture.tensors(mixing.detach()), batch, loss or _own_loss)
            optimizer.zero_grad()
            mixing.backward(mixture.gradient(gradients))
            optimizer.step()
            history.append(({"step": float(step)}, value))
    coefficients = mixture.as_coefficients(shares.detach().softmax(1), labels)
    merged = merge_state_dicts(Linear(), dict(zip(labels, states, strict=True)), weights=coefficients.of)
    last = [value for _, value in history[-max(1, len(history) // 4) :]]
    return Found(
        coefficients=coefficients,
        method=Linear(),
        state_dict={**_integers(model, as_tensors(members[labels[0]])), **merged},
        score=-sum(last) / len(last),
        history=tuple(history),
    )


def _integers(model: nn.Module, state: Tensors) -> dict[str, Tensor]:
    """Counters and indices, which cannot be averaged."""
    persistent = set(model.state_dict())
    names = [name for name, one in model.named_buffers() if name in persistent and not one.is_floating_point()]
    return {name: state[name] for name in names if name in state}


def _own_loss(output: Any, batch: Mapping[str, Any]) -> Tensor:
    value = getattr(output, "loss", None)
    if not isinstance(value, Tensor):
        raise CompressionError("the model's output has no loss; give batches with labels, or a loss function")
    return value
