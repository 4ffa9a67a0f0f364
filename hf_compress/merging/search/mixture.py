"""Mixtures of models whose coefficients are learned by gradient descent."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.merging.engine.in_memory import Tensors
from hf_compress.merging.search.coefficients import Coefficients, Granularity, group_of, groups_of

Loss = Callable[[Any, Mapping[str, Any]], Tensor]
"""(the model's output, the batch) -> a scalar to be made small."""


class Mixture:
    """theta = offset + sum_i c[g, i] * direction_i, where g is the tensor's group.

    The gradient with respect to c[g, i] is the dot product of direction_i with the gradient of the mixed weights, summed
    over the tensors of the group, so that a step costs one backward pass of one model however many members there are.

    Attributes:
        names: the tensors that are mixed.
        groups: the rule patterns of the groups, G of them; None for the tensors outside.
    """

    def __init__(self, directions: Sequence[Tensors], offset: Tensors | None, granularity: Granularity) -> None:
        self.names = list(directions[0])
        self.groups = groups_of(self.names, granularity)
        row = {group: number for number, group in enumerate(self.groups)}
        self._rows = {name: row[group_of(name, granularity)] for name in self.names}
        self._directions, self._offset = directions, offset

    @torch.no_grad()
    def tensors(self, coefficients: Tensor) -> dict[str, Tensor]:
        """The mixed weights, fp32, for coefficients (G, M)."""
        mixed = {}
        for name in self.names:
            row = coefficients[self._rows[name]].tolist()
            if self._offset is None:
                total = torch.zeros_like(self._directions[0][name], dtype=torch.float32)
            else:
                total = self._offset[name].to(torch.float32, copy=True)
            for direction, factor in zip(self._directions, row, strict=True):
                total.add_(direction[name].float(), alpha=factor)
            mixed[name] = total
        return mixed

    @torch.no_grad()
    def gradient(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """(G, M) from the gradients of the mixed weights; names without one count as 0."""
        total = torch.zeros(len(self.groups), len(self._directions))
        for name, gradient in gradients.items():
            dots = [(gradient * direction[name].float()).sum() for direction in self._directions]
            total[self._rows[name]] += torch.stack(dots).cpu()
        return total

    def as_coefficients(self, coefficients: Tensor, members: Sequence[str]) -> Coefficients:
        """(G, M) as the weights of a merge; without tensors outside of groups, the mean over the groups stands for them."""
        rows = {group: tuple(row) for group, row in zip(self.groups, coefficients.tolist(), strict=True)}
        outside = rows.pop(None, tuple(coefficients.mean(0).tolist()))
        groups = {group: row for group, row in rows.items() if group is not None}
        return Coefficients(members=tuple(members), weights=outside, groups=groups)


def own_tensors(model: nn.Module, label: str, state: Tensors) -> dict[str, Tensor]:
    """The tensors of a state dict that make up the model, each once: parameters and floating-point buffers.

    Raises:
        CompressionError: one is missing or has another shape.
    """
    persistent = set(model.state_dict())
    wanted: dict[str, Tensor] = dict(model.named_parameters())
    wanted |= {name: one for name, one in model.named_buffers() if name in persistent and one.is_floating_point()}
    for name, tensor in wanted.items():
        if name not in state or state[name].shape != tensor.shape:
            given = tuple(state[name].shape) if name in state else "nothing"
            raise CompressionError(
                f"{label} holds {given} for {name}, {tuple(tensor.shape)} in {type(model).__name__}; give the state_dict()"
                " of a loaded model, whose names are the model's own"
            )
    return {name: state[name] for name in wanted}


def loss_and_gradients(
    model: nn.Module, tensors: Mapping[str, Tensor], batch: Mapping[str, Any], loss: Loss
) -> tuple[float, dict[str, Tensor]]:
    """The loss of the model with these weights instead of its own, and its gradient with respect to them.

    The weights may lie on another device than the model; the gradient lies where they do.

    Raises:
        CompressionError: the loss is not a finite number.
    """
    parameters = {name for name, _ in model.named_parameters()}
    places = {name: one.device for name, one in (*model.named_parameters(), *model.named_buffers())}
    leaves = {
        name: tensor.detach().to(places.get(name, tensor.device)).requires_grad_(name in parameters)
        for name, tensor in tensors.items()
    }
    value = loss(torch.func.functional_call(model, leaves, (), dict(batch)), batch)
    if not math.isfinite(float(value.detach())):
        raise CompressionError(
            f"the loss is {float(value.detach())}; look for NaN in the weights and the batch, or lower the learning rate"
        )
    trained = [name for name in leaves if name in parameters]
    found = torch.autograd.grad(value, [leaves[name] for name in trained], allow_unused=True)
    return float(value.detach()), {
        name: one.to(tensors[name].device) for name, one in zip(trained, found, strict=True) if one is not None
    }


def cycle(batches: Iterable[Mapping[str, Any]], steps: int) -> Iterable[Mapping[str, Any]]:
    """`steps` batches, from the start again when they end.

    Raises:
        CompressionError: there is no batch, or `steps` is below 1.
    """
    if steps < 1:
        raise CompressionError(f"steps={steps} must be 1 or more")
    kept = list(itertools.islice(batches, steps))
    if not kept:
        raise CompressionError("batches is empty; give at least one, as a list so that it can be gone through again")
    return itertools.islice(itertools.cycle(kept), steps)
