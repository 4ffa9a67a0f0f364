"""Thresholds of a cascade: quality against cost, and the best of either under a limit on the other."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.fitting.cascade import NEVER, CascadeResult, Stages, stages_of

ROUNDING = 1e-6
"""By how much of its size a mean may miss a limit: what a mean in single precision rounds away."""
NUM_STARTS = 64
"""Places from which the search for more than two stages begins."""
MAX_ROUNDS = 50
"""Rounds of coordinate steps; each round makes it better, or it was the last."""

Aims = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""(quality, cost) -> what is to be large, the first before the second before the third."""


@dataclass(frozen=True, kw_only=True)
class QualityCostCurve:
    """What every threshold of one stage does; K is at most one more than the number of rows.

    Attributes:
        thresholds: (K,), falling from one that no row reaches to one that all reach.
        quality: (K,), mean over the rows.
        cost: (K,), mean over the rows.
    """

    thresholds: Tensor
    quality: Tensor
    cost: Tensor


def quality_cost_curve(confidences: Tensor, quality: Tensor, costs: Sequence[float]) -> QualityCostCurve:
    """All that a cascade of two stages can do on these rows, exactly; arguments are those of `choose_thresholds`, M = 2.

    Raises:
        CompressionError: there are more than two stages, or the arguments cannot be used.
    """
    stages = stages_of(confidences, quality, costs)
    if len(costs) != 2:
        raise CompressionError(f"{len(costs)} stages have no single curve; give two, or ask choose_thresholds")
    return _curve(stages, [NEVER], 0)


def choose_thresholds(
    confidences: Tensor,
    quality: Tensor,
    costs: Sequence[float],
    *,
    least_quality: float | None = None,
    most_cost: float | None = None,
) -> CascadeResult:
    """The cheapest thresholds of at least this quality, or the best ones of at most this cost.

    Exact for two stages. For more it is a search: steps along one threshold at a time, each to the exact best place while
    the others stay, one round from each stage alone and from a grid of starts, and on from the best of these. What it finds
    is never worse than a single stage that answers all rows and keeps the limit.

    On the rows that chose them thresholds do a little better than on others; measure on others.

    Args:
        confidences: (M, N) in [0, 1]; the last stage always answers, and its row may be left out.
        quality: (M, N) how good each stage's answer is, larger is better: whether it is right, or its log-likelihood.
        costs: M numbers, what a row costs in each stage that it visits.
        least_quality: mean over the rows, e.g. 0.99 times that of the last stage.
        most_cost: mean over the rows. One of the two is given.

    Raises:
        CompressionError: both limits or none, nothing that was found keeps it, or arguments that cannot be used.
    """
    stages = stages_of(confidences, quality, costs)
    best = _search(stages, _aims(least_quality, most_cost))
    if least_quality is not None and best.quality < least_quality - _slack(least_quality):
        raise CompressionError(
            f"no thresholds reach the quality {least_quality:g}; the best that were found have {best.quality:g} at a cost"
            f" of {best.cost:g}"
        )
    if most_cost is not None and best.cost > most_cost + _slack(most_cost):
        raise CompressionError(
            f"a row costs {best.cost:g} or more, since all visit the first stage; most_cost={most_cost:g}"
        )
    return best


def frontier(stages: Stages, *, points: int = 33) -> list[tuple[float, ...]]:
    """Thresholds from the cheapest to those of the best quality, for a picture of one against the other.

    Of two stages they are some of all that there are, evenly over the rows; of more, the best ones of evenly spaced limits
    of cost.

    Args:
        stages: what every stage would do.
        points: how many, at most.
    """
    if len(stages.confidences) == 1:
        known = _curve(stages, [NEVER], 0).thresholds.flip(0)
        places = torch.linspace(0, len(known) - 1, min(points, len(known))).round().long()
        return [(float(threshold),) for threshold in known[places]]
    lowest, highest = float(stages.paid[0]), float(stages.paid[-1])
    found: list[tuple[float, ...]] = []
    for place in range(points):
        limit = lowest + (highest - lowest) * place / (points - 1)
        best = _search(stages, _aims(None, limit)).thresholds
        if not found or best != found[-1]:
            found.append(best)
    return found


def _aims(least_quality: float | None, most_cost: float | None) -> Aims:
    """The limit first, then what is to be good, then the other."""
    if least_quality is not None and most_cost is None:
        floor = least_quality - _slack(least_quality)
        return lambda quality, cost: ((quality - floor).clamp_max(0), -cost, quality)
    if most_cost is not None and least_quality is None:
        ceiling = most_cost + _slack(most_cost)
        return lambda quality, cost: ((ceiling - cost).clamp_max(0), quality, -cost)
    raise CompressionError("give least_quality or most_cost, and not both; the other is made as good as it can be")


def _slack(limit: float) -> float:
    return ROUNDING * abs(limit)


def _search(stages: Stages, aims: Aims) -> CascadeResult:
    """One round from every start, and from the best of them on until nothing moves."""
    begun = [stages.run(_ascend(stages, start, aims, 1)) for start in _starts(stages)]
    quality = torch.tensor([result.quality for result in begun], dtype=torch.float64)
    cost = torch.tensor([result.cost for result in begun], dtype=torch.float64)
    followed = begun[_first_best(aims(quality, cost))]
    return stages.run(_ascend(stages, followed.thresholds, aims, MAX_ROUNDS))


def _starts(stages: Stages) -> Iterator[list[float]]:
    """Where the search begins: each stage alone, and a grid over quantiles of confidences, of all stages but the last two.

    The threshold of the stage before the last is left to the first coordinate step, which solves it exactly.
    """
    before_last = len(stages.confidences)
    for alone in range(before_last + 1):
        yield [NEVER] * alone + [0.0] * (before_last - alone)
    if before_last == 1:
        return  # one coordinate, which is solved exactly from anywhere
    levels = max(2, round(NUM_STARTS ** (1 / (before_last - 1))))
    ordered = stages.confidences[:-1].sort(-1).values
    places = torch.linspace(0, ordered.shape[1] - 1, levels).round().long()
    for thresholds in itertools.product(*(own[places].unique().tolist() for own in ordered)):
        yield [*thresholds, NEVER]


def _ascend(stages: Stages, thresholds: Sequence[float], aims: Aims, rounds: int) -> list[float]:
    """Move one threshold at a time to the best place for it, from the last to the first, until none moves."""
    now = list(thresholds)
    for _ in range(rounds):
        before = list(now)
        for stage in reversed(range(len(now))):
            curve = _curve(stages, now, stage)
            now[stage] = float(curve.thresholds[_first_best(aims(curve.quality, curve.cost))])
        if now == before:
            break
    return now


def _first_best(aims: tuple[Tensor, ...]) -> int:
    """The place at which the first aim is largest, of those the second, and so on; the first of equals."""
    alive = torch.ones_like(aims[0], dtype=torch.bool)
    for aim in aims:
        largest = aim[alive].amax()
        alive &= aim >= largest - 1e-12 * largest.abs()
    return int(alive.nonzero()[0])


def _curve(stages: Stages, thresholds: Sequence[float], stage: int) -> QualityCostCurve:
    """What every threshold of one stage does while the others stay.

    Sorted by confidence, the rows that the stage answers are the first k; a sum that runs along gives quality and cost for
    every k. Rows of equal confidence go together.
    """
    num_rows = stages.quality.shape[1]
    without = stages.answered_by([*thresholds[:stage], NEVER, *thresholds[stage + 1 :]])
    rows = (without > stage).nonzero().flatten()
    rows = rows[stages.confidences[stage][rows].argsort(descending=True, stable=True)]
    quality = stages.quality.gather(0, without.unsqueeze(0)).squeeze(0)
    more = (stages.quality[stage] - quality)[rows].cumsum(0)
    less = (stages.paid[stage] - stages.paid[without])[rows].cumsum(0)
    scores = stages.confidences[stage][rows]
    last = torch.cat((scores[1:] != scores[:-1], scores.new_ones(min(1, len(scores)), dtype=torch.bool)))
    start = torch.zeros(1, dtype=torch.float64)
    return QualityCostCurve(
        thresholds=torch.cat((start + NEVER, _between(scores, last).double())),
        quality=(quality.sum() + torch.cat((start, more[last]))) / num_rows,
        cost=(stages.paid[without].sum() + torch.cat((start, less[last]))) / num_rows,
    )


def _between(scores: Tensor, last: Tensor) -> Tensor:
    """For falling scores, thresholds half way between each that is the last of its equals and the next one; 0 at the end.

    Rounding on another machine then moves no row across. Where nothing lies between, the threshold is the upper score.
    """
    upper = scores[last]
    lower = torch.cat((upper[1:], upper.new_zeros(min(1, len(upper)))))
    middle = (upper + lower) / 2
    return torch.cat((torch.where(middle > lower, middle, upper)[:-1], lower[-1:]))
