"""The same sparsity everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hf_compress.pruning.allocation import Allocation


@dataclass(frozen=True, kw_only=True)
class Uniform(Allocation, name="uniform"):
    """Every layer gets the overall sparsity."""

    def shares(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, float]:
        """The overall sparsity, for each name."""
        return dict.fromkeys(scores, sparsity)
