"""Whole inputs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.pattern import Pattern, keep_units


@dataclass(frozen=True, kw_only=True)
class WholeColumns(Pattern, name="columns"):
    """Columns of the (O, I) matrix go or stay whole: inputs that a layer no longer looks at.

    A column's score is the mean of its weights' scores. In a convolution a column is one input channel at one position of
    the kernel. Zero columns stay where they are, so that shapes do not change.

    Source: Wen et al. 2016, section 3.1 (columns of the filters' matrix).
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Wen, Wu, Wang, Chen, Li",
        title="Learning Structured Sparsity in Deep Neural Networks",
        year=2016,
        link="https://arxiv.org/abs/1608.03665",
        equation="section 3.1",
    )

    def unit(self, outputs: int, inputs: int) -> tuple[int, int]:
        """A column."""
        return outputs, 1

    def columns_at_once(self, most: int) -> int:
        """None: columns are decided among all.

        Raises:
            CompressionError: always.
        """
        raise CompressionError(f"{self.name}: whole columns cannot be decided from left to right; use a criterion")

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """(O, I) -> (O, I) bool with `round(sparsity * I)` columns False."""
        return keep_units(score, self.unit(*score.shape), sparsity)
