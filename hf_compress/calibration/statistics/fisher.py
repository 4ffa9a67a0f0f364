"""How much a model's predictions change with each parameter."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.calibration.statistic import GradientStatistic


@dataclass(frozen=True, kw_only=True)
class FisherDiagonal(GradientStatistic, name="fisher"):
    """F = 1/N sum_n E_y [(d log p(y | x_n) / d theta)^2], the exact diagonal: squares of every example's own gradient.

    In squared nats per squared parameter. With labels "true" it is the empirical Fisher.

    Source: Matena and Raffel 2022, the diagonal of the Fisher information and its expectation over y.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Matena, Raffel",
        title="Merging Models with Fisher-Weighted Averaging",
        year=2022,
        link="https://arxiv.org/abs/2111.09832",
    )

    def observe(self, gradient: Tensor, weight: float, total: Tensor | None) -> Tensor:
        """Any shape -> the same shape, fp32: weighted squares."""
        total = torch.zeros_like(gradient, dtype=torch.float32) if total is None else total
        return total.addcmul_(gradient.float(), gradient.float(), value=weight)
