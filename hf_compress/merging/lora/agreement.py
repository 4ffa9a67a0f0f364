"""Whether adapters can be added up without their base, as far as their headers say."""

import math
from collections.abc import Collection, Sequence
from functools import partial

from hf_compress._errors import CompressionError
from hf_compress._problems import check_all
from hf_compress.merging.lora.adapter import Adapter, LoraLayer


def fit_together(
    opened: Sequence[Adapter], base: str | None = None, rank: int | None = None, whole_from: int | None = None
) -> None:
    """Refuse adapters whose sum is not an adapter, or has less than the rank.

    Args:
        opened: the adapters.
        base: given, they may name different ones.
        rank: of the result; None = all there is.
        whole_from: the number of the one whose whole tensors the result has.

    Raises:
        RecipeError: with every problem.
    """
    check_all(
        *(partial(_check_alone, adapter) for adapter in opened),
        lambda: common_base(opened, base),
        lambda: _check_together(opened, whole_from),
        lambda: _check_shapes(opened, rank),
    )


def common_base(adapters: Sequence[Adapter], base: str | None) -> str | None:
    """What the adapters were trained on; `base` where it is given.

    Raises:
        CompressionError: two name different ones.
    """
    if base is not None:
        return base
    named = {adapter.base: adapter for adapter in adapters if adapter.base}
    if len(named) > 1:
        (first, one), (second, other) = list(named.items())[:2]
        raise CompressionError(
            f"{one.place} was trained on {first!r} and {other.place} on {second!r}; adapters of different bases do not add"
            " up (if it is one base under two names, give base)"
        )
    return next(iter(named), None)


def _check_alone(adapter: Adapter) -> None:
    if adapter.packed or adapter.tokens:
        field = "target_parameters" if adapter.packed else "trainable_token_indices"
        raise CompressionError(
            f"{adapter.place}: {field}={adapter.config.get(field)!r}: such an adapter is not added to others without"
            " its base; merge it into the base instead"
        )
    for layer in adapter.layers.values():
        if "magnitude" in layer.keys:
            raise CompressionError(
                f"{adapter.place}: {layer.module} is DoRA, whose change depends on the base's weights; merge it into"
                " the base instead"
            )


def _check_together(adapters: Sequence[Adapter], whole_from: int | None) -> None:
    """Refuse what one PEFT adapter cannot hold, though each of these holds a part of it."""
    layers = {module: (layer, adapter) for adapter in adapters for module, layer in adapter.layers.items()}
    whole: Collection[str] = {
        name for adapter in (adapters if whole_from is None else [adapters[whole_from]]) for name in adapter.whole
    }
    for module, (_, adapter) in layers.items():
        name = f"{module}.weight"
        if name in whole:
            saved = next(other for other in adapters if name in other.whole)
            raise CompressionError(
                f"{module} has factors in {adapter.place} and is saved whole in {saved.place}, and PEFT takes one"
                " of the two; merge the adapters into the base one after the other"
            )
    embedding = next((module for module, (layer, _) in layers.items() if layer.kind == "embedding"), None)
    biased = next((item for item in layers.items() if "bias" in item[1][0].keys), None)
    if embedding is not None and biased is not None:
        module, (_, adapter) = biased
        raise CompressionError(
            f"{embedding} is an embedding, and {module} has a LoRA bias in {adapter.place}, which PEFT does not take"
            " together; merge the adapters into the base one after the other"
        )


def _check_shapes(adapters: Sequence[Adapter], rank: int | None) -> None:
    """Refuse layers of other shapes, and a rank above that of every sum."""
    most = 0
    for module in sorted({module for adapter in adapters for module in adapter.layers}):
        found = [(adapter, adapter.layers[module]) for adapter in adapters if module in adapter.layers]
        first, like = found[0]
        shape = _shape(first, like)
        for adapter, layer in found[1:]:
            other = _shape(adapter, layer)
            if other != shape:
                raise CompressionError(
                    f"{module} is {shape[0]} {shape[1]} x {list(shape[2])} in {first.place} and {other[0]} {other[1]} x"
                    f" {list(other[2])} in {adapter.place}; these adapters belong to different bases"
                )
        stacked = sum(adapter.shape(layer.keys["a"])[0] for adapter, layer in found)
        most = max(most, min(shape[1], stacked, math.prod(shape[2])))
    if rank is not None and most and rank > most:
        raise CompressionError(
            f"rank={rank} is more than these adapters have: their sum has rank {most} at most; leave rank out to stack"
        )


def _shape(adapter: Adapter, layer: LoraLayer) -> tuple[str, int, tuple[int, ...]]:
    return layer.kind, adapter.shape(layer.keys["b"])[0], adapter.kernel(layer)
