"""Sparsities that are written down."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocation import Allocation

_TOLERANCE = 1e-3
"""By how much written sparsities may miss the overall one, where no layer is left to make up for it."""


@dataclass(frozen=True, kw_only=True)
class PerLayer(Allocation, name="per_layer"):
    """Named layers get the sparsity that is written for them; all others share one, with which `schedule.final` comes out.

    On the way every layer has the same share of its own: sparsity_l(t) = sparsity_l * s(t) / final.

    Attributes:
        sparsities: module name, or `re:` and a regular expression matched from the start of the name -> sparsity in
            [0, 1). A name wins over expressions; two expressions that say different things of one layer are refused.
    """

    sparsities: dict[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsities", dict(self.sparsities))
        for pattern, sparsity in self.sparsities.items():
            if not 0 <= sparsity < 1:
                raise CompressionError(f"sparsities: {pattern}: {sparsity:g} is not a sparsity in [0, 1)")
            try:
                re.compile(pattern.removeprefix("re:") if pattern.startswith("re:") else "")
            except re.error as error:
                raise CompressionError(f"sparsities: {pattern!r} is not a regular expression: {error}") from error

    def check_layers(self, shapes: Mapping[str, tuple[int, ...]], final: float) -> None:
        """Every pattern matches, and the others can make up for what is written."""
        self._ends(shapes, final)

    def shares_of_shapes(self, shapes: Mapping[str, tuple[int, ...]], sparsity: float, final: float) -> dict[str, float]:
        """The written sparsities and the one of the others, on their way."""
        reached = sparsity / final if final else 0.0
        return {name: min(share * reached, 1.0) for name, share in self._ends(shapes, final).items()}

    def _ends(self, shapes: Mapping[str, tuple[int, ...]], final: float) -> dict[str, float]:
        """The sparsity of each layer at the end.

        Raises:
            CompressionError: a pattern matches nothing, two disagree, or the overall sparsity cannot come out.
        """
        for pattern in self.sparsities:
            if not any(_matches(pattern, name) for name in shapes):
                raise CompressionError(
                    f"pruning.allocation: sparsities: {pattern!r} matches none of the {len(shapes)} layers that are pruned,"
                    f" e.g. {next(iter(shapes), 'none')}; write a layer's name, or re: and an expression"
                )
        written = {name: self._written(name) for name in shapes}
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        named = {name: share for name, share in written.items() if share is not None}
        num_named, zeros = sum(sizes[name] for name in named), sum(share * sizes[name] for name, share in named.items())
        total = sum(sizes.values())
        if num_named == total:
            if abs(zeros / max(total, 1) - final) > _TOLERANCE:
                raise CompressionError(
                    f"pruning.allocation: sparsities name every layer and come to {zeros / total:.4f} of all weights, but"
                    f" schedule.final is {final:g}; set it to {zeros / total:.4f}, or leave layers out that make up for it"
                )
            return named
        rest = (final * total - zeros) / (total - num_named)
        if not 0 <= rest < 1:
            raise CompressionError(
                f"pruning.allocation: with these sparsities the layers without one would need {rest:.4f} to reach"
                f" schedule.final={final:g}; change it, or name other sparsities"
            )
        return {name: rest if share is None else share for name, share in written.items()}

    def _written(self, name: str) -> float | None:
        """What is said of a layer; None where nothing is."""
        if name in self.sparsities:
            return self.sparsities[name]
        found = {pattern: share for pattern, share in self.sparsities.items() if _matches(pattern, name)}
        if len(set(found.values())) > 1:
            first, second = list(found)[:2]
            raise CompressionError(
                f"pruning.allocation: sparsities: {first!r} and {second!r} say different things of {name}; make one of them"
                " narrower, or write the layer's name"
            )
        return next(iter(found.values()), None)


def _matches(pattern: str, name: str) -> bool:
    """As targets match."""
    return re.match(pattern[3:], name) is not None if pattern.startswith("re:") else pattern == name
