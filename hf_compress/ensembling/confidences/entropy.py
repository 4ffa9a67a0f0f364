"""How far a distribution is from knowing nothing."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import widened
from hf_compress.ensembling.confidence import Confidence


@dataclass(frozen=True, kw_only=True)
class Entropy(Confidence, name="entropy"):
    """1 - H(p) / log C with H(p) = -sum_c p_c log p_c, in [0, 1]: all classes count, not just the likeliest.

    Source: Teerapittayanon, McDanel, Kung 2016, where rows leave early by H alone.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Teerapittayanon, McDanel, Kung",
        title="BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks",
        year=2016,
        link="https://arxiv.org/abs/1709.01686",
    )

    def score(self, log_probabilities: Tensor) -> Tensor:
        """(..., C) -> (...): 0 log 0 is 0, and a class alone is certain."""
        entropy = torch.special.entr(widened(log_probabilities).exp()).sum(-1)
        return (1 - entropy / math.log(max(2, log_probabilities.shape[-1]))).clamp(0, 1)
