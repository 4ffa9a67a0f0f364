"""Which counts are within a budget: every legal one of layers and heads, each with the most feed-forward units that fit."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import skeleton
from hf_compress._units import share_of
from hf_compress.architectures.architecture import Architecture, architecture_of
from hf_compress.pruning.shrink.choice import Size, size_of
from hf_compress.pruning.shrink.dimensions import Dimensions, StackDimensions, dimensions_of
from hf_compress.pruning.shrink.legal import first_ones
from hf_compress.pruning.shrink.pieces import Kept
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.smaller_model import built_smaller

LIMITS = {"parameters": "parameters", "macs": "MACs"}
"""Field of a plan, which is one of `Size` too, and what it is in words."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of a model.

    Attributes:
        layers: blocks.
        heads: query heads of a layer.
        units: feed-forward units of a layer.
    """

    layers: int
    heads: int
    units: int

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.heads} heads, {self.units} units"


class Sizes:
    """Parameters and MACs of a model at any counts.

    Both are a + b * n for each of the three counts where the other two stay, so that the eight corners of what is legal say
    all between them. The corners are built without memory.

    Args:
        model: perhaps without memory.
        plan: what it holds beside the three counts, such as a hidden size.
        low: the least of each count.
        high: the most.
    """

    def __init__(self, model: Any, plan: ShrinkPlan, low: Counts, high: Counts) -> None:
        self._low, self._high = low, high
        architecture = architecture_of(model)
        dimensions = dimensions_of(model, architecture)
        self._corners = {corner: _corner(low, high, corner) for corner in itertools.product((0, 1), repeat=3)}
        self._sizes = {
            counts: _built_size(model, architecture, dimensions, plan, counts) for counts in set(self._corners.values())
        }

    def of(self, counts: Counts, what: str) -> float:
        """The `what` ("parameters", "macs") of a model of these counts.

        Raises:
            CompressionError: its multiplications cannot be counted.
        """
        total = 0.0
        places = [_place(counts, self._low, self._high, name) for name in ("layers", "heads", "units")]
        for corner, built in self._corners.items():
            known = getattr(self._sizes[built], what)
            if known is None:
                raise CompressionError(
                    f"{what}: the multiplications of this model cannot be counted without running it; give a budget of"
                    " parameters"
                )
            weight = 1.0
            for place, at in zip(places, corner, strict=True):
                weight *= place if at else 1 - place
            total += weight * known
        return total


def _corner(low: Counts, high: Counts, corner: Sequence[int]) -> Counts:
    names = ("layers", "heads", "units")
    return Counts(**{name: getattr(high if at else low, name) for name, at in zip(names, corner, strict=True)})


def _place(counts: Counts, low: Counts, high: Counts, name: str) -> float:
    """Where a count lies between the least and the most, in [0, 1]."""
    first, last = getattr(low, name), getattr(high, name)
    return 0.0 if first == last else (getattr(counts, name) - first) / (last - first)


def _built_size(model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan, counts: Counts) -> Size:
    kept = first_ones(model, architecture, dimensions, plan_of(plan, counts, tuple(range(counts.layers))))
    built = built_smaller(model, architecture, dimensions, kept)
    bytes_of_each = ((name, tensor.itemsize) for name, tensor in built.named_parameters())
    return size_of(built, bytes_of_each, counted=plan.macs is not None)


def plan_of(plan: ShrinkPlan, counts: Counts, layers: tuple[int, ...]) -> ShrinkPlan:
    """The plan without a budget, at these counts.

    Args:
        plan: with one.
        counts: heads and units.
        layers: places of those that stay.
    """
    return replace(
        plan, depth="influence", parameters=None, macs=None, layers=layers, heads=counts.heads, feed_forward=counts.units
    )


@dataclass(frozen=True, kw_only=True)
class Within:
    """What a budget allows.

    Attributes:
        whole: counts of the model.
        allowed: counts that are within the budget, of which none is in every part below another one.
        sizes: of any counts.
        limits: what is limited -> the most that is allowed.
    """

    whole: Counts
    allowed: tuple[Counts, ...]
    sizes: Sizes
    limits: dict[str, float]

    def describe(self) -> str:
        """The limits, and what is allowed, a line each."""
        limits = ", ".join(f"{most:,.0f} {LIMITS[what]}" for what, most in self.limits.items())
        first = f"within at most {limits} ({len(self.allowed)}; what they lose is measured when the weights are there):"
        return "\n".join([first, *(f"  {self.in_words(counts)}" for counts in self.allowed)])

    def in_words(self, counts: Counts) -> str:
        """Counts with what they come to."""
        return f"{counts}: " + ", ".join(f"{self.sizes.of(counts, what):,.0f} {LIMITS[what]}" for what in self.limits)


def within(model: Any, plan: ShrinkPlan) -> Within:
    """Enumerate the counts that a budget allows.

    Every legal number of layers and of heads is paired with the most feed-forward units that still fit, in multiples of
    `plan.multiple_of`; a count that the plan names is held.

    Args:
        model: perhaps without memory.
        plan: with a budget.

    Raises:
        CompressionError: nothing that is legal is so small, or a held count is not legal.
    """
    architecture = architecture_of(model)
    dimensions = dimensions_of(model, architecture)
    own = one_stack(dimensions)
    whole = Counts(layers=own.layers, heads=own.heads, units=own.units)
    layers = _layers(model, architecture, dimensions, plan)
    heads = _legal(model, architecture, dimensions, plan, "heads", range(1, whole.heads + 1))
    step = math.lcm(plan.multiple_of, own.units_step)
    steps = sorted({*range(step, whole.units, step), whole.units})
    units = _legal(model, architecture, dimensions, plan, "feed_forward", steps)
    low = Counts(layers=layers[0], heads=heads[0], units=units[0])
    sizes = Sizes(model, plan, low, Counts(layers=layers[-1], heads=heads[-1], units=units[-1]))
    bytes_of_each = ((name, tensor.itemsize) for name, tensor in model.named_parameters())
    before = size_of(skeleton(model), bytes_of_each, counted=plan.macs is not None)
    limits = {}
    for what in LIMITS:
        share, known = getattr(plan, what), getattr(before, what)
        if share is not None:
            limits[what] = share_of(share) * (known or 0)
    found = [counts for pair in itertools.product(layers, heads) for counts in _most_units(pair, units, sizes, limits)]
    if not found:
        least = ", ".join(f"{sizes.of(low, what):,.0f} {LIMITS[what]}" for what in limits)
        asked = ", ".join(f"{what}={getattr(plan, what)} allows {most:,.0f}" for what, most in limits.items())
        raise CompressionError(f"{asked}, and the smallest legal model ({low}) has {least}; allow more")
    kept = [one for one in found if not any(_below(one, other) for other in found)]
    return Within(whole=whole, allowed=tuple(kept), sizes=sizes, limits=limits)


def one_stack(dimensions: Dimensions) -> StackDimensions:
    """Of the only stack.

    Raises:
        CompressionError: there are several.
    """
    if len(dimensions.stacks) > 1:
        raise CompressionError(
            f"a budget is for models with one stack of layers, and this is {dimensions}; give counts in its place"
        )
    return dimensions.stacks[0]


def _layers(model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan) -> list[int]:
    """The numbers of layers to look at: what the plan holds, else all."""
    if plan.layers is None:
        return list(range(1, one_stack(dimensions).layers + 1))
    held = ShrinkPlan(layers=plan.layers, hidden=plan.hidden)
    return [len(first_ones(model, architecture, dimensions, held).stacks[0].layers)]


def _legal(
    model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan, part: str, counts: Sequence[int]
) -> list[int]:
    """The numbers of a part to look at: what the plan holds, else all that are legal."""
    held = getattr(plan, part)

    def kept_with(asked: Any) -> Kept:
        return first_ones(model, architecture, dimensions, ShrinkPlan(hidden=plan.hidden, **{part: asked}))

    if held is not None:
        left = one_stack(dimensions_of(built_smaller(model, architecture, dimensions, kept_with(held)), architecture))
        return [left.heads if part == "heads" else left.units]
    if part != "heads":
        return list(counts)
    found = []
    for count in counts:
        try:
            kept_with(count)
        except CompressionError:
            continue
        found.append(count)
    if not found:
        kept_with(counts[-1])  # which says why
    return found


def _most_units(pair: tuple[int, int], units: Sequence[int], sizes: Sizes, limits: dict[str, float]) -> Iterator[Counts]:
    """The counts with the most units that fit; none where not even the fewest do."""
    for count in reversed(units):
        counts = Counts(layers=pair[0], heads=pair[1], units=count)
        if all(sizes.of(counts, what) <= most + 0.5 for what, most in limits.items()):
            yield counts
            return


def _below(one: Counts, other: Counts) -> bool:
    """Whether the other is another one and has at least as many of each."""
    return one != other and one.layers <= other.layers and one.heads <= other.heads and one.units <= other.units
