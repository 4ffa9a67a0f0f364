"""No structure: any weight may go."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress._sharding.across import ALONE, Across
from hf_compress.pruning.pattern import Pattern, keep_largest


@dataclass(frozen=True, kw_only=True)
class Unstructured(Pattern, name="unstructured"):
    """The lowest scores of the layer go, wherever they are.

    Nothing runs faster by itself; the checkpoint compresses better and the pattern is the upper bound for every other.
    Source: Han et al. 2015, section 3.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Han, Pool, Tran, Dally",
        title="Learning both Weights and Connections for Efficient Neural Networks",
        year=2015,
        link="https://arxiv.org/abs/1506.02626",
        equation="section 3",
    )

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """(O, I) -> (O, I) bool with exactly `round(sparsity * O * I)` False."""
        return self.mask_of_part(score, sparsity, ALONE)

    def mask_of_part(self, score: Tensor, sparsity: float, across: Across) -> Tensor:
        """The same, for the scores of all processes."""
        return keep_largest(score, round(sparsity * across.total(score.numel())), across)
