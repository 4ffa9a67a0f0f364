"""One-shot pruning block by block: what a block is pruned by is measured behind the blocks that are pruned already."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_stored, channel_rows, layer_shape, matrix_shape, own_matrix
from hf_compress.calibration.collect import Collected
from hf_compress.calibration.in_order import Part, collect_in_order
from hf_compress.calibration.statistic import statistics_of
from hf_compress.pruning.compute import apply_mask, compute_masks, zeros_of
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.fit import check_embeddings, refuse_experts
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.reconstruction import Reconstruction, Unit, fit, record
from hf_compress.pruning.solver import Solver
from hf_compress.pruning.statistics import Batches, Stats, by_layer

logger = logging.getLogger(__name__)


def check_in_order(modules: Mapping[str, nn.Module], pruning: Pruning, solver: Solver | None) -> None:
    """Refuse what cannot go block by block.

    Args:
        modules: that are pruned.
        pruning: what is asked for.
        solver: that corrects what stays, or None.

    Raises:
        CompressionError: experts are packed, the criterion needs gradients, the allocation compares layers, a criterion is
            named beside a solver, or the solver cannot go through a layer or pattern.
    """
    refuse_experts(modules, "block by block each layer is looked at; prune them at once, by magnitude")
    needs = pruning.criterion.needs if solver is None else ()
    if any(one.needs_gradient for one in statistics_of(needs)):
        raise CompressionError(
            f"pruning.criterion: {pruning.criterion.name} needs {', '.join(needs)}, of gradients that go through the whole"
            " model, and a solver, in_order and reconstruct go block by block; prune at once, or use the criterion wanda"
        )
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
    check_embeddings(modules, solver.name, solver.needs)
    for name, module in modules.items():
        probe = torch.empty(matrix_shape(module), device="meta")
        if pruning.pattern.along_inputs and channel_rows(module, probe).shape != probe.shape:
            raise CompressionError(
                f"pruning.pattern: {name} is a convolution, in which the neighbours of {pruning.pattern.name} are not those"
                f" of its inputs; {solver.name} goes through inputs: ignore it, or use the pattern unstructured"
            )


def prune_in_order(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    pruning: Pruning,
    batches: Batches,
    solver: Solver | None = None,
    reconstruct: Reconstruction | None = None,
) -> dict[str, Tensor]:
    """See `prune`.

    Args:
        model: changed in place.
        modules: that are pruned, by name.
        pruning: criterion, pattern, allocation and final sparsity.
        batches: to measure on.
        solver: instead of the criterion, or None.
        reconstruct: how the weights that stay are fitted, or None.

    Raises:
        CompressionError: see `collect_in_order`, `compute_masks` and `Solver.solve`; blocks before the one that was looked
            at are pruned then.
    """
    shares = _shares(modules, pruning)
    assert shares is not None
    held = zeros_of(modules)
    masks: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {}
    if solver is None and not pruning.criterion.needs:  # all at once, so that nothing is pruned where a layer is refused
        known = compute_masks(modules, pruning, pruning.final, held=held, shares=shares)

    def visit(part: Part, found: Collected) -> None:
        stats = by_layer(found, part.layers)
        units = record(part, model, reconstruct.scope) if reconstruct is not None and part.name else []
        if solver is None:
            own = (
                {name: known[name] for name in part.layers}
                if known
                else compute_masks(part.layers, pruning, pruning.final, stats, held=held, shares=shares)
            )
            for name, module in part.layers.items():
                apply_mask(module, own[name])
        else:
            own = _solve(part.layers, solver, stats, pruning.pattern, shares, held)
        masks.update(own)
        if reconstruct is not None:
            _fit(part, units, masks, reconstruct)

    needs = pruning.criterion.needs if solver is None else solver.needs
    collect_in_order(model, batches, needs, modules, visit, progress="pruning")
    return {name: masks[name] for name in modules}


def _solve(
    layers: Mapping[str, nn.Module],
    solver: Solver,
    stats: Stats,
    pattern: Pattern,
    shares: Mapping[str, float],
    held: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Solve layer by layer, in place; the masks.

    Raises:
        CompressionError: a layer has no statistics, or see `Solver.solve`.
    """
    masks = {}
    for name, module in layers.items():
        for need in solver.needs:
            if need not in stats[name]:
                raise CompressionError(
                    f"solver: {solver.name} needs {need} of {name}, and no example reaches that layer; add '{name}' to"
                    " pruning.ignore, or give more examples"
                )
        try:
            weight, masks[name] = solver.solve(own_matrix(module), stats[name], pattern, shares[name], held.get(name))
        except CompressionError as error:
            raise CompressionError(f"{name}: {error}") from error
        module.weight.copy_(as_stored(module, weight.to(module.weight.dtype)))  # type: ignore[operator, arg-type]
    return masks


def _fit(part: Part, units: Sequence[Unit], masks: Mapping[str, Tensor], reconstruct: Reconstruction) -> None:
    """Fit the parts of a block one after the other, and say what of it is not fitted."""
    fitted = {name for unit in units for name in unit.layers}
    left = [name for name in part.layers if name not in fitted]
    if left and reconstruct.scope in ("both", "block"):
        logger.warning("not reconstructed, since they lie in no block that is run by itself: %s", ", ".join(left))
    for unit in units:
        before, after = fit(unit, masks, reconstruct)
        logger.info("%s: relative loss %.4g, reconstructed %.4g", unit.name, before, after)


def _shares(modules: Mapping[str, nn.Module], pruning: Pruning) -> dict[str, float] | None:
    """The sparsity of each layer, as far as it follows from shapes."""
    final = pruning.final
    return pruning.allocation.shares_of_shapes({name: layer_shape(one) for name, one in modules.items()}, final, final)
