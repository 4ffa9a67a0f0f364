"""How far the likeliest class is ahead."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import widened
from hf_compress.ensembling.confidence import Confidence


@dataclass(frozen=True, kw_only=True)
class Margin(Confidence, name="margin"):
    """p_(1) - p_(2), the likeliest class against the next, in [0, 1]: 0 where two are level, whatever the others are.

    Source: Scheffer, Decomain, Wrobel 2001.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Scheffer, Decomain, Wrobel",
        title="Active Hidden Markov Models for Information Extraction",
        year=2001,
        link="https://doi.org/10.1007/3-540-44816-0_31",
    )

    def score(self, log_probabilities: Tensor) -> Tensor:
        """(..., C) -> (...): the difference of the two largest probabilities; a class alone has no rival."""
        first = widened(log_probabilities).topk(min(2, log_probabilities.shape[-1]), -1).values.exp()
        return (first[..., 0] - first[..., 1:].sum(-1)).clamp(0, 1)
