"""The maximum of the members' probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities, normalised


@dataclass(frozen=True, kw_only=True)
class Maximum(Combiner, name="maximum"):
    """p_c proportional to max_m w_m p_mc: each class is judged by the member that is surest of it.

    For members that each know a part of the classes; one that is sure and wrong decides alone.

    Source: Kittler et al. 1998, max rule, which has equal weights.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Kittler, Hatef, Duin, Matas",
        title="On Combining Classifiers",
        year=1998,
        link="https://doi.org/10.1109/34.667881",
        equation="max rule",
    )

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """(M, ..., C), (M,) or (M, ...) -> (..., C): max_m(log p_mc + log w_m), normalised."""
        each = log_probabilities(logits)
        return log_probabilities((each + normalised(weights, each).log()).amax(0))
