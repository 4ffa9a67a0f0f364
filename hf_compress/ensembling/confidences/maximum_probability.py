"""The probability of the likeliest class."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import widened
from hf_compress.ensembling.confidence import Confidence


@dataclass(frozen=True, kw_only=True)
class MaximumProbability(Confidence, name="maximum_probability"):
    """max_c p_c, in [1/C, 1]: of a calibrated model, how often it is right.

    Source: Hendrycks and Gimpel 2017.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Hendrycks, Gimpel",
        title="A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks",
        year=2017,
        link="https://arxiv.org/abs/1610.02136",
    )

    def score(self, log_probabilities: Tensor) -> Tensor:
        """(..., C) -> (...): the largest probability."""
        return widened(log_probabilities).amax(-1).exp().clamp(0, 1)
