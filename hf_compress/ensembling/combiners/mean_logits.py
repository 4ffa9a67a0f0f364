"""The mean of the members' logits."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities, normalised, weighted_sum, widened


@dataclass(frozen=True, kw_only=True)
class MeanLogits(Combiner, name="mean_logits"):
    """log p_c = sum_m w_m z_mc - log sum_c' exp(sum_m w_m z_mc'), the logarithmic opinion pool.

    A member's logits and log-probabilities differ by a number that is the same for all classes, which falls out, so this
    is the normalised geometric mean of probabilities as well: one member that finds a class impossible has its way. A row
    in which no class is possible for all members of weight is NaN.

    Source: Genest and Zidek 1986, on logarithmic opinion pools.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Genest, Zidek",
        title="Combining Probability Distributions: A Critique and an Annotated Bibliography",
        year=1986,
        link="https://doi.org/10.1214/ss/1177013825",
    )

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """(M, ..., C), (M,) or (M, ...) -> (..., C): the log softmax of the weighted mean."""
        each = widened(logits)
        return log_probabilities(weighted_sum(each, normalised(weights, each)))
