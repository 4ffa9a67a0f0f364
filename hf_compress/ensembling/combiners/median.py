"""The median of the members' probabilities."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities, normalised


@dataclass(frozen=True, kw_only=True)
class Median(Combiner, name="median"):
    """p_c proportional to the weighted median of p_mc over the members: members far off on a class do not move it.

    With a class's probabilities in ascending order, the lower median is the first with which the weights so far reach 1/2,
    the upper one the first with which they pass it; the median is their mean (the middle one of an odd number of equal
    weights, the mean of the two middle ones of an even number). A row in which the median of every class is exactly 0 is
    NaN.

    Source: Kittler et al. 1998, median rule, which has equal weights.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Kittler, Hatef, Duin, Matas",
        title="On Combining Classifiers",
        year=1998,
        link="https://doi.org/10.1109/34.667881",
        equation="median rule",
    )

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """(M, ..., C), (M,) or (M, ...) -> (..., C): the median in logarithms, whose order is the same, normalised."""
        rounding = 1e-6  # sums of shares such as 1/6 miss 1/2 by less
        each = log_probabilities(logits)
        ordered, order = each.sort(0)
        reached = normalised(weights, each).expand_as(each).gather(0, order).cumsum(0)
        lower = (reached < 0.5 - rounding).sum(0, keepdim=True)
        upper = (reached <= 0.5 + rounding).sum(0, keepdim=True)
        pair = ordered.gather(0, torch.cat((lower, upper)))
        middle = torch.logaddexp(pair[0], pair[1])
        # Sorting puts NaN last, where the median does not look, and so do shares that are NaN.
        unknown = each.isnan().any(0) | reached[-1].isnan()
        return log_probabilities(middle.masked_fill(unknown, math.nan))
