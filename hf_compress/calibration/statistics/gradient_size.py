"""How large each example's own gradient is."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.calibration.statistic import GradientStatistic, Labels


@dataclass(frozen=True, kw_only=True)
class GradientSize(GradientStatistic, name="gradient_size"):
    """1/N sum_n |d log p(y_n | x_n) / d theta|: absolute per example, so that signs do not cancel.

    At the data's labels unless others are asked for.

    Source: Molchanov et al. 2017, section 2.2: the absolute value stands inside the mean over examples.
    """

    usual_labels: ClassVar[Labels | None] = "true"
    reference: ClassVar[Reference | None] = Reference(
        authors="Molchanov, Tyree, Karras, Aila, Kautz",
        title="Pruning Convolutional Neural Networks for Resource Efficient Inference",
        year=2017,
        link="https://arxiv.org/abs/1611.06440",
        equation="section 2.2",
    )

    def observe(self, gradient: Tensor, weight: float, total: Tensor | None) -> Tensor:
        """Any shape -> the same shape, fp32: the weighted sum of sizes."""
        total = torch.zeros_like(gradient, dtype=torch.float32) if total is None else total
        return total.add_(gradient.float().abs(), alpha=weight)
