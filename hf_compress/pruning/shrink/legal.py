"""How many of each part a plan asks for, where a model can be left with so many."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.dimensions import Dimensions
from hf_compress.pruning.shrink.pieces import Kept
from hf_compress.pruning.shrink.plan import ShrinkPlan, amount_of
from hf_compress.pruning.shrink.smaller_config import legal_heads


def first_ones(model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan) -> Kept:
    """As many of each part as the plan asks for, the first ones, and layers where it names them.

    Raises:
        CompressionError: a number is not legal, with those that are.
    """
    layers, units, groups = tuple(range(dimensions.layers)), None, None
    if plan.layers is not None:
        layers = _layers(model, architecture, dimensions, plan.layers)
    if plan.feed_forward is not None:
        count = amount_of(plan.feed_forward, dimensions.units)
        if count > dimensions.units:
            raise CompressionError(f"feed_forward={count}: {dimensions}; legal: 1 to {dimensions.units}")
        units = (tuple(range(count)),) * len(layers) if count < dimensions.units else None
    if plan.heads is not None:
        count = amount_of(plan.heads, dimensions.groups) * (dimensions.per_group if isinstance(plan.heads, float) else 1)
        _check_heads(model, architecture, dimensions, count)
        stay = tuple(range(count // dimensions.per_group))
        groups = (stay,) * len(layers) if count < dimensions.heads else None
    return Kept(layers=layers, units=units, groups=groups)


def _layers(
    model: Any, architecture: Architecture, dimensions: Dimensions, asked: int | float | tuple[int, ...]
) -> tuple[int, ...]:
    if isinstance(asked, tuple):
        layers = asked
        if layers[-1] >= dimensions.layers:
            raise CompressionError(f"layers={list(asked)}: {dimensions}; legal places: 0 to {dimensions.layers - 1}")
    else:
        count = amount_of(asked, dimensions.layers)
        if count > dimensions.layers:
            raise CompressionError(f"layers={count}: {dimensions}; legal: 1 to {dimensions.layers}")
        layers = tuple(range(count))
    reason = architecture.place_matters(model.config)
    first = tuple(range(len(layers)))
    if reason and len(layers) < dimensions.layers and (layers != first or not isinstance(asked, tuple)):
        raise CompressionError(
            f"layers={list(asked) if isinstance(asked, tuple) else asked}: with {reason} a layer computes something else at"
            f" another place, so only the last ones can go; write layers={list(first)}"
        )
    return layers


def _check_heads(model: Any, architecture: Architecture, dimensions: Dimensions, count: int) -> None:
    legal = legal_heads(model.config, architecture, dimensions)
    if count in legal:
        return
    kind, config = architecture.name, type(model.config).__name__
    if architecture.attention.head_size is None:
        raise CompressionError(
            f"heads={count}: {config} has no key for the size of a head, which is always hidden size / heads, so heads"
            f" cannot be removed; legal for this {kind}: {dimensions.heads}, all of them"
        )
    rule = f"whole groups of {dimensions.per_group} heads" if dimensions.per_group > 1 else "whole heads"
    raise CompressionError(
        f"heads={count}: {dimensions}; legal for this {kind}: {', '.join(map(str, legal))} ({rule}, in numbers that"
        f" {config} accepts)"
    )
