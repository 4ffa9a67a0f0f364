"""Relative importance and activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class RIA(Criterion, name="ria"):
    """score_ij = (|w_ij| / sum_k |w_ik| + |w_ij| / sum_k |w_kj|) * ||X_j||_2 ** a.

    A weight counts relative to its row and to its column, so that no channel loses all of its weights; what is relative to
    both is compared over the whole layer.

    Attributes:
        a: how much activations count, in [0, 1].
        per_row: compare within each row instead, as Wanda does.

    Source: Zhang et al. 2024, relative importance and activations, with a = 0.5.
    """

    a: float = 0.5
    per_row: bool = False

    needs: ClassVar[tuple[str, ...]] = ("input_norm",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Zhang, Bai, Lin, Zhao, Hou, Cannistraci",
        title="Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models",
        year=2024,
        link="https://openreview.net/forum?id=Tr0lPx9woF",
        equation="RIA",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.a <= 1:
            raise CompressionError(f"a={self.a:g} must lie between 0 (weights alone) and 1; the paper has 0.5")

    @property
    def in_rows(self) -> bool:
        """As `per_row` says."""
        return self.per_row

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32; a row or column of zeros has no share of anything, and scores 0."""
        size = weight.detach().float().abs()
        tiny = 1e-38  # the smallest normal number: sums of zeros divide zeros
        relative = size / size.sum(1, keepdim=True).clamp(min=tiny) + size / size.sum(0, keepdim=True).clamp(min=tiny)
        return relative * stats["input_norm"] ** self.a
