"""Layers that go one after the other, each time the one without which the loss is least."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_compress._progress import progress
from hf_compress.architectures.architecture import architecture_of
from hf_compress.pruning.shrink.dimensions import dimensions_of
from hf_compress.pruning.shrink.mean_loss import mean_loss
from hf_compress.pruning.shrink.pieces import Kept, KeptStack
from hf_compress.pruning.shrink.smaller_model import smaller_model


def removed_one_by_one(
    model: Any, batches: Sequence[Mapping[str, Any]], count: int, stack: int = 0
) -> tuple[tuple[int, float], ...]:
    """Take out one layer, look at all others again, and so on: g = argmin over the layers left of loss(model without g).

    Source: Song et al. 2024, SLEB, algorithm 1. Of L layers count * (2 L - count + 1) / 2 models are run over the batches.

    Args:
        model: stays as it is.
        batches: see `mean_loss`.
        count: how many layers go.
        stack: of which of the model's stacks; the others stay whole.

    Returns:
        (place of the layer, loss without it and those before it), in the order in which they go; of equal losses the first.

    Raises:
        CompressionError: see `mean_loss`.
    """
    architecture = architecture_of(model)
    dimensions = dimensions_of(model, architecture)
    whole = [tuple(range(one.layers)) for one in dimensions.stacks]
    left, removed = list(whole[stack]), []
    for _ in progress(range(count), "taking layers out", leave=False):
        losses = []
        for place in left:
            layers = [*whole]
            layers[stack] = tuple(one for one in left if one != place)
            kept = Kept(stacks=tuple(KeptStack(layers=one) for one in layers))
            losses.append(mean_loss(smaller_model(model, architecture, dimensions, kept, shared=True), batches))
        least = min(range(len(left)), key=losses.__getitem__)
        removed.append((left.pop(least), losses[least]))
    return tuple(removed)


def without(count: int, removed: Sequence[tuple[int, float]]) -> tuple[int, ...]:
    """The places that stay of so many layers, ascending."""
    gone = {place for place, _ in removed}
    return tuple(place for place in range(count) if place not in gone)
