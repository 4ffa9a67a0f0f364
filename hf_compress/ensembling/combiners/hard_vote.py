"""A vote of the members' likeliest classes."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities, normalised, weighted_sum


@dataclass(frozen=True, kw_only=True)
class HardVote(Combiner, name="hard_vote"):
    """p_c = (1 - e) v_c + e q_c, with the share of votes v_c = sum_m w_m [c = argmax z_m] and e = 1/1000.

    Votes alone would give probability 0 to all other classes and leave ties open. So a thousandth is shared out by
    q = softmax(sum_m w_m log p_m): of classes with equal votes the one with the larger summed log-probability wins, and
    every log-probability is finite. It never outweighs a difference of votes above 1/999. A member's vote is for the first
    of its largest logits. Members that agree on a class give it at least 0.999, however unsure they are: only the classes
    say something, the probabilities do not.

    Source: Kittler et al. 1998, majority vote rule.
    """

    idempotent: ClassVar[bool] = False
    reference: ClassVar[Reference | None] = Reference(
        authors="Kittler, Hatef, Duin, Matas",
        title="On Combining Classifiers",
        year=1998,
        link="https://doi.org/10.1109/34.667881",
        equation="majority vote rule",
    )

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """(M, ..., C), (M,) or (M, ...) -> (..., C): the log of the share of votes, with ties broken."""
        rest = 1e-3
        each = log_probabilities(logits)
        shares = normalised(weights, each)
        classes = torch.arange(each.shape[-1], device=each.device)
        votes = (shares * (classes == each.argmax(-1, keepdim=True))).sum(0)
        tie_break = log_probabilities(weighted_sum(each, shares)) + math.log(rest)
        # Where nobody votes the logarithm is not taken, because its gradient there would be NaN.
        tiny = torch.finfo(votes.dtype).tiny
        voted = torch.logaddexp(votes.clamp_min(tiny).log() + math.log1p(-rest), tie_break)
        return torch.where(votes > 0, voted, tie_break)
