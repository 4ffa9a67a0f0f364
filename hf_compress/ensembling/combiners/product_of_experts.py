"""The product of the members' probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities, normalised, weighted_sum


@dataclass(frozen=True, kw_only=True)
class ProductOfExperts(Combiner, name="product_of_experts"):
    """p_c proportional to prod_m p_mc^a_m with a_m = w_m / max w: with equal weights, the product of all of them.

    The exponents are not divided by the number of members, which would be `mean_logits`: there M members that agree are
    as sure as one, here each counts as evidence of its own, and M equal members p give p^M, normalised. It has the same
    likeliest class as `mean_logits` and is surer of it. The member of the largest weight counts once, none more often. A
    row in which no class is possible for all members of weight is NaN.

    Source: Hinton 2002, equation 1.
    """

    idempotent: ClassVar[bool] = False
    reference: ClassVar[Reference | None] = Reference(
        authors="Hinton",
        title="Training Products of Experts by Minimizing Contrastive Divergence",
        year=2002,
        link="https://doi.org/10.1162/089976602760128018",
        equation="equation 1",
    )

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """(M, ..., C), (M,) or (M, ...) -> (..., C): the log softmax of sum_m a_m log p_mc."""
        each = log_probabilities(logits)
        shares = normalised(weights, each)
        return log_probabilities(weighted_sum(each, shares / shares.amax(0, keepdim=True)))
