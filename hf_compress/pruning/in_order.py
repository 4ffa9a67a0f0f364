"""One-shot pruning block by block: what a block is pruned by is measured behind the blocks that are pruned already."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_stored, channel_rows, layer_shape, matrix_shape, own_matrix
from hf_compress.calibration.collect import Collected
from hf_compress.calibration.in_order import Part, collect_in_order
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.prune import compute_masks, zero, zeros_of
from hf_compress.pruning.solver import Solver
from hf_compress.pruning.statistics import Batches, by_layer


def check_in_order(modules: Mapping[str, nn.Module], pruning: Pruning, solver: Solver | None) -> None:
    """Refuse what cannot go block by block.

    Args:
        modules: that are pruned.
        pruning: what is asked for.
        solver: that corrects what stays, or None.

    Raises:
        CompressionError: the allocation compares layers, a criterion is named beside a solver, or the solver cannot go
            through a layer or pattern.
    """
    if _shares(modules, pruning) is None:
        raise CompressionError(
            f"pruning.allocation: {pruning.allocation.name} compares the scores of all layers, and block by block they are"
            " never there together; use uniform, or prune at once"
        )
    if solver is None:
        return
    if pruning.criterion != Magnitude():
        raise CompressionError(
            f"pruning.criterion: {solver.name} chooses by itself, so the criterion {pruning.criterion.name} would not be"
            " looked at; leave it out"
        )
    solver.check(pruning.pattern)
    for name, module in modules.items():
        probe = torch.empty(matrix_shape(module), device="meta")
        if pruning.pattern.along_inputs and channel_rows(module, probe).shape != probe.shape:
            raise CompressionError(
                f"pruning.pattern: {name} is a convolution, in which the neighbours of {pruning.pattern.name} are not those"
                f" of its inputs; {solver.name} goes through inputs: ignore it, or use the pattern unstructured"
            )


def prune_in_order(
    model: nn.Module, modules: Mapping[str, nn.Module], pruning: Pruning, batches: Batches, solver: Solver | None
) -> dict[str, Tensor]:
    """See `prune`.

    Args:
        model: changed in place.
        modules: that are pruned, by name.
        pruning: criterion, pattern, allocation and final sparsity.
        batches: to measure on.
        solver: instead of the criterion, or None.

    Raises:
        CompressionError: see `collect_in_order`, `compute_masks` and `Solver.solve`; blocks before the one that was looked
            at are pruned then.
    """
    final = pruning.schedule.final
    shares = _shares(modules, pruning)
    assert shares is not None
    held = zeros_of(modules)
    masks: dict[str, Tensor] = {}

    def visit(part: Part, found: Collected) -> None:
        stats = by_layer(found, part.layers)
        if solver is None:
            masks.update(compute_masks(part.layers, pruning, final, stats, held=held, shares=shares))
            for name, module in part.layers.items():
                zero(module.weight, as_stored(module, masks[name]))  # type: ignore[arg-type]
            return
        for name, module in part.layers.items():
            own: Mapping[str, Any] = stats[name]
            for need in solver.needs:
                if need not in own:
                    raise CompressionError(
                        f"solver: {solver.name} needs {need} of {name}, and no example reaches that layer; add '{name}' to"
                        " pruning.ignore, or give more examples"
                    )
            weight, keep = solver.solve(own_matrix(module), own, pruning.pattern, shares[name], held.get(name))
            module.weight.copy_(as_stored(module, weight.to(module.weight.dtype)))  # type: ignore[operator, arg-type]
            masks[name] = keep

    needs = pruning.criterion.needs if solver is None else solver.needs
    collect_in_order(model, batches, needs, modules, visit, progress="pruning")
    return {name: masks[name] for name in modules}


def _shares(modules: Mapping[str, nn.Module], pruning: Pruning) -> dict[str, float] | None:
    """The sparsity of each layer, as far as it follows from shapes."""
    final = pruning.schedule.final
    return pruning.allocation.shares_of_shapes({name: layer_shape(one) for name, one in modules.items()}, final, final)
