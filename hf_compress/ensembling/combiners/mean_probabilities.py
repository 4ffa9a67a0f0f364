"""The mean of the members' probabilities."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities, normalised


@dataclass(frozen=True, kw_only=True)
class MeanProbabilities(Combiner, name="mean_probabilities"):
    """p_c = sum_m w_m p_mc, the linear opinion pool: the members as a mixture, one of which is right.

    A class is likely if any member of weight finds it likely.

    Source: Lakshminarayanan, Pritzel, Blundell 2017, section 2.4.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Lakshminarayanan, Pritzel, Blundell",
        title="Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
        year=2017,
        link="https://arxiv.org/abs/1612.01474",
        equation="section 2.4",
    )

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """(M, ..., C), (M,) or (M, ...) -> (..., C): logsumexp_m(log p_mc + log w_m)."""
        each = log_probabilities(logits)
        return torch.logsumexp(each + normalised(weights, each).log(), 0)
