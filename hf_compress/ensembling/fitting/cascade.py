"""What a cascade with given thresholds does on rows: which stage answers, how well, at what cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError

NEVER = 2.0
"""A threshold that no confidence reaches, since they are at most 1. One that all reach is 0."""


@dataclass(frozen=True, kw_only=True)
class CascadeResult:
    """Thresholds, and what they do on the rows that they were looked at with.

    Attributes:
        thresholds: of all stages but the last, which always answers. A stage answers rows whose confidence is at least its
            threshold.
        quality: mean over the rows of the quality of the stage that answers.
        cost: mean over the rows of what the stages that they visit cost.
        shares: of the rows, by the stage that answers; their sum is 1.
    """

    thresholds: tuple[float, ...]
    quality: float
    cost: float
    shares: tuple[float, ...]

    @property
    def reaching(self) -> tuple[float, ...]:
        """The share of the rows that each stage is asked about; that of the first is 1."""
        return tuple(max(0.0, 1 - sum(self.shares[:stage])) for stage in range(len(self.shares)))


@dataclass(frozen=True, kw_only=True)
class Stages:
    """What every stage would do with every row. All stages are asked here; in use, rows that are answered go no further.

    Attributes:
        confidences: (M - 1, N) in [0, 1], of all stages but the last.
        quality: (M, N) in fp64, e.g. 1 where the stage's answer is right and 0 where not.
        paid: (M,) in fp64, what a row has cost by the time that the stage has answered: it pays every stage that it visits.
    """

    confidences: Tensor
    quality: Tensor
    paid: Tensor

    def run(self, thresholds: Sequence[float]) -> CascadeResult:
        """What these thresholds do."""
        answered = self.answered_by(thresholds)
        quality = self.quality.gather(0, answered.unsqueeze(0))
        shares = torch.bincount(answered, minlength=len(self.paid)).double() / len(answered)
        return CascadeResult(
            thresholds=tuple(thresholds),
            quality=float(quality.mean()),
            cost=float(shares @ self.paid),
            shares=tuple(shares.tolist()),
        )

    def answered_by(self, thresholds: Sequence[float]) -> Tensor:
        """(N,) the stage that answers each row."""
        stage = torch.full((self.quality.shape[1],), len(self.paid) - 1)
        for place in reversed(range(len(self.confidences))):
            stage[self.confidences[place] >= thresholds[place]] = place
        return stage


def stages_of(confidences: Tensor, quality: Tensor, costs: Sequence[float]) -> Stages:
    """What every stage would do, found to be good.

    Args:
        confidences: (M, N) in [0, 1], or (M - 1, N): the last stage always answers, and its confidence is not looked at.
        quality: (M, N) how good each stage's answer is, larger is better: whether it is right, or its log-likelihood.
        costs: M numbers, what a row costs in each stage, in any unit: seconds, FLOPs, money.

    Raises:
        CompressionError: shapes differ, there are no rows or fewer than two stages, a number is NaN, a confidence lies
            outside of [0, 1], or a cost is not finite or below 0.
    """
    num_stages = len(costs)
    if num_stages < 2:
        raise CompressionError(f"{num_stages} costs given; a cascade has two stages or more, and a cost for each")
    for place, cost in enumerate(costs):
        if not (math.isfinite(cost) and cost >= 0):
            raise CompressionError(f"the cost of stage {place} is {cost}; costs are finite numbers, 0 or more")
    if quality.ndim != 2 or len(quality) != num_stages or not quality.shape[1]:
        raise CompressionError(f"quality has shape {tuple(quality.shape)}; expected are ({num_stages} stages, rows)")
    if (
        confidences.ndim != 2
        or confidences.shape[1] != quality.shape[1]
        or len(confidences) not in (num_stages, num_stages - 1)
    ):
        raise CompressionError(
            f"confidences have shape {tuple(confidences.shape)}; expected are {(num_stages, quality.shape[1])}, of which"
            " the last stage may be left out"
        )
    confidences, quality = confidences[: num_stages - 1].detach().cpu(), quality.detach().cpu().double()
    for place, own in enumerate(quality):
        if not own.isfinite().all():
            raise CompressionError(f"the quality of stage {place} is NaN or infinite in a row; leave such rows out")
    for place, own in enumerate(confidences):
        if not ((own >= 0) & (own <= 1)).all():
            raise CompressionError(
                f"a confidence of stage {place} is NaN or outside of [0, 1]; give the scores of a Confidence"
            )
    paid = torch.tensor(list(costs), dtype=torch.float64).cumsum(0)
    return Stages(confidences=confidences, quality=quality, paid=paid)
