"""The same sparsity everywhere."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hf_compress.pruning.allocation import Allocation


@dataclass(frozen=True, kw_only=True)
class Uniform(Allocation, name="uniform"):
    """Every layer gets the overall sparsity."""

    def shares_of_shapes(self, shapes: Mapping[str, tuple[int, ...]], sparsity: float, final: float) -> dict[str, float]:
        """The overall sparsity, for each name."""
        return dict.fromkeys(shapes, sparsity)

    def fewest_zeros(self, sizes: Iterable[int], sparsity: float, units: Iterable[int] | None = None) -> int:
        """Exact: each layer rounds the same share of its own size."""
        together = itertools.repeat(1) if units is None else units
        return sum(round(sparsity * (size // unit)) * unit for size, unit in zip(sizes, together, strict=False))
