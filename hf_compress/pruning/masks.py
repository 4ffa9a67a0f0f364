"""Masks that live beside a model while it trains."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_stored, matrix_shape, matrix_size, own_matrix
from hf_compress._modules.packed import edit_states
from hf_compress._modules.parts import across_matrix, part_of_matrix, whole_matrix
from hf_compress._sharding.contract import check_supported, is_sharded, reshard, sharding_of
from hf_compress.pruning.compute import compute_masks, zero, zeros_of
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.fit import check_fit, chosen, units_of
from hf_compress.pruning.statistics import Stats


class Masks:
    """The masks of one model: computed, applied, and read back from its zeros.

    They are never part of the model: no buffer, no parametrization, nothing that would reach a state dict. Pruned weights
    are exactly zero in the weights themselves, so a checkpoint carries its masks as zeros and any library loads it.

    Of a sharded model every process has its parts of the masks, and every process must call what computes or counts them.

    Attributes:
        keep: (O, I) bool by module name, True = keep; this process's part.
        gradients_masked: `apply_to_gradients` was called; whoever takes a step sets it back.
    """

    def __init__(self, model: nn.Module, pruning: Pruning) -> None:
        """Matches the modules and refuses what does not fit them, before the first mask.

        Args:
            model: what is pruned.
            pruning: the job.

        Raises:
            CompressionError: see `chosen`, `check_supported` and `check_fit`.
        """
        check_supported(model, "pruning")
        self._model, self.pruning = model, pruning
        selection = chosen(model, pruning)
        self.modules, self.left_out = selection.modules, selection.left_out
        check_fit(self.modules, pruning)
        self.keep: dict[str, Tensor] = {}
        self._shaped: dict[str, tuple[Tensor, Tensor]] = {}
        self._open: dict[str, Tensor] = {}
        self._follows_parts = False
        self.gradients_masked = False

    @torch.no_grad()
    def update(self, sparsity: float, stats: Stats | None = None) -> None:
        """Compute new masks for an overall sparsity; what is pruned stays pruned, so the sparsity never falls.

        Args:
            sparsity: share of zeros in [0, 1), or what `Pruning.amount` says.
            stats: what criterion and allocation need, per layer.

        Raises:
            CompressionError: see `compute_masks`.
        """
        reshard(self._model)
        self.keep = compute_masks(self.modules, self.pruning, sparsity, stats, held=self.keep)
        self._note_open()

    @torch.no_grad()
    def hold_zeros(self) -> None:
        """Begin with the zeros that are there as pruned; modules without zeros, or of zeros only, get no mask yet."""
        reshard(self._model)
        self.keep = zeros_of(self.modules)
        self._note_open()

    @torch.no_grad()
    def read_zeros(self, free: Mapping[str, Tensor] | None = None) -> None:
        """Take the masks from the weights, after a resume: what is exactly zero is pruned.

        Args:
            free: zeros that the masks did not hold when the weights were written, as `free_zeros` gave them.

        Raises:
            CompressionError: `free` is of other shapes.
        """
        free = free or {}
        reshard(self._model)
        self.keep = {}
        for name, module in self.modules.items():
            if name in free and free[name].shape != matrix_shape(module):
                raise CompressionError(f"the zeros noted for {name} are of a weight of another shape; is it another model?")
        for name, module in self.modules.items():
            keep = own_matrix(module) != 0
            if name in free:
                keep |= part_of_matrix(module, free[name]).to(keep.device)
            if across_matrix(module).total(int((~keep).count_nonzero())):
                self.keep[name] = keep
        self._note_open()

    @torch.no_grad()
    def free_zeros(self) -> dict[str, Tensor]:
        """Zeros that no mask holds, (O, I) bool per module that has some: new layers that have not learnt yet, or weights
        that came to be zero by themselves. Whole ones, of a sharded model too.
        """
        reshard(self._model)
        found = {}
        for name, module in self.modules.items():
            zeros = own_matrix(module) == 0
            if name in self.keep:
                zeros &= self.keep[name]
            if across_matrix(module).total(int(zeros.count_nonzero())):
                found[name] = whole_matrix(module, zeros)
        return found

    @torch.no_grad()
    def apply(self) -> None:
        """Set pruned weights to zero, in place."""
        for weight, stored in self._stored():
            zero(weight, stored)

    @torch.no_grad()
    def apply_to_gradients(self) -> None:
        """Set the gradients of pruned weights to zero, in place, so that they do not count in the gradient norm."""
        for weight, stored in self._stored():
            gradient = sharding_of(weight).gradient(weight)
            if gradient is not None:
                gradient.mul_(stored)
        self.gradients_masked = True

    def follow_gradients(self) -> list[RemovableHandle]:
        """Set them to zero as they are computed, where the optimizer's step would begin before `apply_to_gradients`.

        Returns:
            What `remove` ends it by: nothing where gradients are there in time.
        """

        def masked(name: str, gradient: Tensor) -> None:
            if name in self.keep:
                keep = self._as_stored(name)
                keep = keep if keep.shape == gradient.shape else self._as_whole(name)
                gradient.mul_(keep.to(gradient.device))

        weights: dict[str, Any] = {name: module.weight for name, module in self.modules.items()}
        found = [
            sharding_of(weight).follow_gradient(weight, functools.partial(masked, name)) for name, weight in weights.items()
        ]
        handles = [handle for handle in found if handle is not None]
        self._follows_parts = bool(handles) and is_sharded(self._model)
        self._note_open()
        return handles

    def _as_whole(self, name: str) -> Tensor:
        """The mask of a whole weight, while that is put together: its zeros, unless some are open."""
        weight: Any = self.modules[name].weight
        whole = self._open.get(name)
        return weight != 0 if whole is None else whole

    def _note_open(self) -> None:
        """Gather the masks of layers in which weights are zero and not pruned, because their zeros say too much."""
        self._open = {}
        if self._follows_parts:
            for name, keep in self.keep.items():
                module = self.modules[name]
                if across_matrix(module).total(int(((own_matrix(module) == 0) & keep).count_nonzero())):
                    self._open[name] = as_stored(module, whole_matrix(module, keep))

    @torch.no_grad()
    def apply_to_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero the optimizer's per-weight state (momenta) of pruned weights, in place."""
        for name in self.keep:
            stored = self._as_stored(name)
            edit_states(self.modules[name], optimizer, lambda part, stored=stored: part.mul_(stored))  # type: ignore[misc]

    def _stored(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each weight that has a mask, and the mask in its shape."""
        for name in self.keep:
            yield self.modules[name].weight, self._as_stored(name)  # type: ignore[misc]

    def _as_stored(self, name: str) -> Tensor:
        """A mask in the shape of its weight; worked out once per mask, because every step asks.

        As bytes 0 and 1 of the same memory: torch multiplies by them several times as fast as by bools.
        """
        keep = self.keep[name]
        if name not in self._shaped or self._shaped[name][0] is not keep:
            self._shaped[name] = keep, as_stored(self.modules[name], keep).contiguous().view(torch.uint8)
        return self._shaped[name][1]

    @torch.no_grad()
    def sparsity(self) -> Tensor:
        """The share of exact zeros over all matched weights, a scalar on the device; the caller decides when to sync."""
        return self.num_zeros() / self.num_weights()

    @torch.no_grad()
    def num_zeros(self) -> Tensor:
        """How many of all matched weights are exactly zero, a scalar on the device."""
        reshard(self._model)
        modules = self.modules.values()
        return torch.stack([across_matrix(module).sum((own_matrix(module) == 0).sum()) for module in modules]).sum()

    def num_weights(self) -> int:
        """How many weights the masks cover."""
        return sum(matrix_size(module) for module in self.modules.values())

    def num_pruned(self) -> int:
        """How many weights the masks hold at zero."""
        return sum(
            across_matrix(self.modules[name]).total(int((~keep).count_nonzero())) for name, keep in self.keep.items()
        )

    @torch.no_grad()
    def lost(self) -> dict[str, int]:
        """By module name how many weights that the masks hold at zero are not zero, where there are any."""
        reshard(self._model)
        counts = {
            name: across_matrix(self.modules[name]).total(
                int(((own_matrix(self.modules[name]) != 0) & ~keep).count_nonzero())
            )
            for name, keep in self.keep.items()
        }
        return {name: count for name, count in counts.items() if count}

    def fewest_zeros(self, sparsity: float) -> int:
        """How many zeros the masks must hold for an overall sparsity: each layer rounds its share of its own size.

        None at all where the criterion's cut decides how many there are.
        """
        shapes = {name: matrix_shape(module) for name, module in self.modules.items()}
        sizes, units = map(math.prod, shapes.values()), units_of(shapes, self.pruning.pattern).values()
        return 0 if self.pruning.target is None else self.pruning.allocation.fewest_zeros(sizes, sparsity, units)
