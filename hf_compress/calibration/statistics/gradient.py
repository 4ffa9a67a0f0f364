"""The derivative of what a model says of the true labels."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.calibration.statistic import GradientStatistic, Labels


@dataclass(frozen=True, kw_only=True)
class MeanGradient(GradientStatistic, name="gradient"):
    """1/N sum_n d log p(y_n | x_n) / d theta: of the examples together, minus the gradient of their mean loss.

    At the data's labels unless others are asked for.

    Source: Lee et al. 2019, the derivative in connection sensitivity.
    """

    usual_labels: ClassVar[Labels | None] = "true"
    reference: ClassVar[Reference | None] = Reference(
        authors="Lee, Ajanthan, Torr",
        title="SNIP: Single-shot Network Pruning based on Connection Sensitivity",
        year=2019,
        link="https://arxiv.org/abs/1810.02340",
        equation="section 4.1",
    )

    def observe(self, gradient: Tensor, weight: float, total: Tensor | None) -> Tensor:
        """Any shape -> the same shape, fp32: the weighted sum."""
        total = torch.zeros_like(gradient, dtype=torch.float32) if total is None else total
        return total.add_(gradient.float(), alpha=weight)
