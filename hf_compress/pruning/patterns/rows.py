"""Whole outputs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.pattern import Pattern, keep_units


@dataclass(frozen=True, kw_only=True)
class WholeRows(Pattern, name="rows"):
    """Rows of the (O, I) matrix go or stay whole: outputs of a Linear, filters of a convolution.

    A row's score is the mean of its weights' scores, by magnitude its L1 norm. Zero rows stay where they are, so that
    shapes do not change; a bias stays too.

    Source: Li et al. 2017, section 3.1.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Li, Kadav, Durdanovic, Samet, Graf",
        title="Pruning Filters for Efficient ConvNets",
        year=2017,
        link="https://arxiv.org/abs/1608.08710",
        equation="section 3.1",
    )

    def unit(self, outputs: int, inputs: int) -> tuple[int, int]:
        """A row."""
        return 1, inputs

    def columns_at_once(self, most: int) -> int:
        """None: a row is decided with all of its columns.

        Raises:
            CompressionError: always.
        """
        raise CompressionError(f"{self.name}: whole rows cannot be decided from left to right; use a criterion")

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """(O, I) -> (O, I) bool with `round(sparsity * O)` rows False."""
        return keep_units(score, self.unit(*score.shape), sparsity)
