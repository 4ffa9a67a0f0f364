"""How large each input of a layer is."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.calibration.statistic import InputStatistic, Shape


@dataclass(frozen=True, kw_only=True)
class InputNorm(InputStatistic, name="input_norm"):
    """||X_j||_2 for the inputs X (N, I): the norm of column j over all rows, sums in fp64.

    Source: Sun et al. 2023, the norm of the input activations in Wanda's metric.
    """

    shape: ClassVar[Shape] = "(I,)"
    reference: ClassVar[Reference | None] = Reference(
        authors="Sun, Liu, Bair, Kolter",
        title="A Simple and Effective Pruning Approach for Large Language Models",
        year=2023,
        link="https://arxiv.org/abs/2306.11695",
        equation="section 3",
    )

    def observe(self, rows: Tensor, total: Tensor | None) -> Tensor:
        """(N, I) -> (I,) fp64: the sums of squares."""
        squares = rows.float().square().sum(0, dtype=torch.float64)
        return squares if total is None else total.add_(squares)

    def finish(self, total: Tensor, count: int) -> Tensor:
        """(I,) fp32: their roots."""
        return total.sqrt().float()
