"""Magnitude pruning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class Magnitude(Criterion, name="magnitude"):
    """score = |w|.

    Source: Han et al. 2015, section 3.
    """

    one_by_one: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Han, Pool, Tran, Dally",
        title="Learning both Weights and Connections for Efficient Neural Networks",
        year=2015,
        link="https://arxiv.org/abs/1506.02626",
        equation="section 3",
    )

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32: the absolute values."""
        return weight.detach().float().abs()
