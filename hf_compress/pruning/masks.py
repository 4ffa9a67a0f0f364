"""Masks that live beside a model while it trains."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._modules import as_stored, match_modules, weight_matrix
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.prune import Stats, compute_masks


class Masks:
    """The masks of one model: computed, applied, and read back from its zeros.

    They are never part of the model: no buffer, no parametrization, nothing that would reach a state dict. Pruned weights
    are exactly zero in the weights themselves, so a checkpoint carries its masks as zeros and any library loads it.
    """

    def __init__(self, model: nn.Module, pruning: Pruning) -> None:
        self.pruning = pruning
        self.modules = match_modules(model, pruning.targets, pruning.ignore, "pruning")
        for module in self.modules.values():
            weight_matrix(module)  # refuses a module without a matrix here, not at the first mask
        self.keep: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, sparsity: float, stats: Stats | None = None) -> None:
        """Compute new masks for an overall sparsity; zeros have the lowest magnitude, so what is pruned stays pruned."""
        self.keep = compute_masks(self.modules, self.pruning, sparsity, stats)

    @torch.no_grad()
    def read_zeros(self) -> None:
        """Take the masks from the weights: what is exactly zero is pruned."""
        self.keep = {name: weight_matrix(module) != 0 for name, module in self.modules.items()}

    @torch.no_grad()
    def apply(self) -> None:
        """Set pruned weights to zero, in place."""
        for name, keep in self.keep.items():
            weight: Any = self.modules[name].weight
            weight.mul_(as_stored(self.modules[name], keep))

    @torch.no_grad()
    def apply_to_gradients(self) -> None:
        """Set the gradients of pruned weights to zero, in place, so that they do not count in the gradient norm."""
        for name, keep in self.keep.items():
            gradient = self.modules[name].weight.grad
            if isinstance(gradient, Tensor):
                gradient.mul_(as_stored(self.modules[name], keep))

    @torch.no_grad()
    def apply_to_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero the optimizer's per-weight state (momenta) of pruned weights, in place."""
        for name, keep in self.keep.items():
            weight: Any = self.modules[name].weight
            state: Mapping[str, object] = optimizer.state.get(weight, {})
            for value in state.values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(as_stored(self.modules[name], keep))

    @torch.no_grad()
    def sparsity(self) -> Tensor:
        """The share of exact zeros over all matched weights, a scalar on the device; the caller decides when to sync."""
        zeros = [(weight_matrix(module) == 0).sum() for module in self.modules.values()]
        return torch.stack(zeros).sum() / self.num_weights()

    def num_weights(self) -> int:
        """How many weights the masks cover."""
        return sum(weight_matrix(module).numel() for module in self.modules.values())

    def names(self) -> Iterable[str]:
        """The matched modules' names, in the model's order."""
        return self.modules.keys()
