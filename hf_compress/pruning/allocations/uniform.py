"""The same sparsity everywhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from hf_compress._sharding.across import Across
from hf_compress.pruning.allocation import Allocation


@dataclass(frozen=True, kw_only=True)
class Uniform(Allocation, name="uniform"):
    """Every layer gets the overall sparsity."""

    def shares(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, float]:
        """The overall sparsity, for each name."""
        return dict.fromkeys(scores, sparsity)

    def shares_of_parts(self, scores: Mapping[str, Tensor], sparsity: float, across: Across) -> dict[str, float]:
        """The same."""
        return self.shares(scores, sparsity)

    def fewest_zeros(self, sizes: Iterable[int], sparsity: float) -> int:
        """Exact: each layer rounds the same share of its own size."""
        return sum(round(sparsity * size) for size in sizes)
