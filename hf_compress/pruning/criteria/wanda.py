"""Pruning by weights and activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class Wanda(Criterion, name="wanda"):
    """score_ij = |w_ij| * ||X_j||_2, compared within each row.

    Source: Sun et al. 2023, equation 1; the comparison per output is that of its section 3.
    """

    needs: ClassVar[tuple[str, ...]] = ("input_norm",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Sun, Liu, Bair, Kolter",
        title="A Simple and Effective Pruning Approach for Large Language Models",
        year=2023,
        link="https://arxiv.org/abs/2306.11695",
        equation="equation 1",
    )

    @property
    def in_rows(self) -> bool:
        """Always."""
        return True

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32."""
        return weight.detach().float().abs() * stats["input_norm"]
