"""Which units and heads stay in each layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.dimensions import Dimensions
from hf_compress.pruning.shrink.importance import group_importance, most_important, unit_importance
from hf_compress.pruning.shrink.pieces import Kept
from hf_compress.pruning.shrink.written import group_writing, measured, unit_writing


def keep_best(
    model: Any,
    architecture: Architecture,
    dimensions: Dimensions,
    kept: Kept,
    batches: list[Mapping[str, Any]] | None,
    called: Sequence[int] | None = None,
) -> Kept:
    """As many units and groups as are kept, those worth most in each layer.

    Args:
        model: with the layers that are kept and the others.
        architecture: its row.
        dimensions: its counts.
        kept: how many stay, and in which layers.
        batches: what they write is measured on; None to go by their weights.
        called: what a refusal calls the layers that are kept; None: by their places.

    Raises:
        CompressionError: what they are worth is not finite, or no batch reaches a layer.
    """
    name, blocks = architecture.block_list(model)
    attention, feed_forward = architecture.attention, architecture.feed_forward
    unit_scores: list[Tensor] = []
    group_scores: list[Tensor] = []

    def outputs(part: str) -> dict[str, nn.Module]:
        return {f"{name}.{place}.{part}": blocks[place].get_submodule(part) for place in kept.layers}

    if kept.units is not None:
        modules = outputs(feed_forward.output)
        if batches is not None:
            norms = measured(model, modules, "input_norm", batches)
            unit_scores = [unit_writing(module, norms[key]) for key, module in modules.items()]
        else:
            sources = [[blocks[place].get_submodule(one) for one in feed_forward.inputs] for place in kept.layers]
            unit_scores = [unit_importance(*pair) for pair in zip(sources, modules.values(), strict=True)]
    if kept.groups is not None:
        modules = outputs(attention.output)
        if batches is not None:
            grams = measured(model, modules, "gram", batches)
            group_scores = [group_writing(module, grams[key], dimensions.groups) for key, module in modules.items()]
        else:
            parts = (attention.query, attention.key, attention.value)
            sources = [[blocks[place].get_submodule(one) for one in parts] for place in kept.layers]
            pairs = zip(sources, modules.values(), strict=True)
            group_scores = [group_importance(*pair, dimensions.groups) for pair in pairs]
    return Kept(
        layers=kept.layers,
        units=_best(called or kept.layers, unit_scores, kept.units, "feed-forward units"),
        groups=_best(called or kept.layers, group_scores, kept.groups, "heads"),
    )


def _best(
    called: Sequence[int], scores: list[Tensor], places: tuple[tuple[int, ...], ...] | None, what: str
) -> tuple[tuple[int, ...], ...] | None:
    """As many places of each layer as stay, those with the largest scores; None where all stay."""
    if places is None:
        return None
    layers = zip(called, scores, places, strict=True)
    return tuple(most_important(score, len(stay), f"layer {place}, {what}") for place, score, stay in layers)
