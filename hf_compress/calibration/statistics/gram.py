"""The inner products of a layer's inputs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.calibration.statistic import InputStatistic, Shape


@dataclass(frozen=True, kw_only=True)
class GramMatrix(InputStatistic, name="gram"):
    """G = X^T X / N for the inputs X (N, I), products in fp32, sums in fp64.

    Per row, so that models measured on different numbers of examples weigh the same.

    Source: Jin et al. 2023, the inner product matrices of RegMean.
    """

    shape: ClassVar[Shape] = "(I, I)"
    reference: ClassVar[Reference | None] = Reference(
        authors="Jin, Ren, Preotiuc-Pietro, Cheng",
        title="Dataless Knowledge Fusion by Merging Weights of Language Models",
        year=2023,
        link="https://arxiv.org/abs/2212.09849",
        equation="RegMean",
    )

    def observe(self, rows: Tensor, total: Tensor | None) -> Tensor:
        """(N, I) -> (I, I) fp64: the sum of the rows' outer products."""
        product = (rows.float().T @ rows.float()).double()
        return product if total is None else total.add_(product)

    def finish(self, total: Tensor, count: int) -> Tensor:
        """(I, I) fp32: their mean."""
        return (total / count).float()
