"""Search for merge parameters with any score as the judge."""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import Source
from hf_compress.merging.engine.in_memory import Tensors, as_tensors, merge_state_dicts
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.coefficients import Coefficients, Found, Granularity, groups_of

Point = dict[str, float]
Range = tuple[float, float]
History = tuple[tuple[Point, float], ...]


def maximize(
    objective: Callable[[Point], float],
    ranges: Mapping[str, Range],
    *,
    start: Point | None = None,
    budget: int = 50,
    tolerance: float = 0.01,
    seed: int = 0,
) -> tuple[Point, float, History]:
    """Random points first, then a pattern search from the best of them; the same seed gives the same points.

    A quarter of the budget, at most 2 points per parameter, is drawn evenly from the ranges. The pattern search steps one
    parameter at a time, up or down by a quarter of its range, in a drawn order; after an improvement it goes on in that
    direction, after a round without one it halves the steps. Points are never scored twice.

    Args:
        objective: the score of a point, higher is better.
        ranges: parameter -> (lowest, highest).
        start: the first point; None = the middle of the ranges.
        budget: most evaluations.
        tolerance: the search ends when steps are smaller than this part of the ranges.
        seed: of the drawn points and orders.

    Returns:
        The best point, its score, and every (point, score) in order. Of equal scores the first one wins.

    Raises:
        CompressionError: a range is empty, the start lies outside, the budget is below 1, or a score is not a number.
    """
    for name, (low, high) in ranges.items():
        if not low < high:
            raise CompressionError(f"the range of {name} is [{low}, {high}], which is empty; write (lowest, highest)")
    if not ranges or budget < 1:
        raise CompressionError(
            f"budget={budget} and {len(ranges)} parameters leave nothing to search; give at least 1 of each"
        )
    first = {name: (low + high) / 2 for name, (low, high) in ranges.items()} | dict(start or {})
    for name, value in first.items():
        if name not in ranges or not ranges[name][0] <= value <= ranges[name][1]:
            raise CompressionError(f"start: {name}={value} lies outside its range {ranges.get(name)}")
    generator = random.Random(seed)
    scores: dict[tuple[float, ...], float] = {}
    history: list[tuple[Point, float]] = []

    def score(point: Point) -> float:
        key = tuple(point.values())
        if key not in scores:
            scores[key] = float(objective(dict(point)))
            history.append((dict(point), scores[key]))
            if math.isnan(scores[key]):
                raise CompressionError(f"the score at {point} is not a number; let the objective return one")
        return scores[key]

    best, top = first, score(first)
    for _ in range(min(budget // 4, 2 * len(ranges))):
        point = {name: generator.uniform(low, high) for name, (low, high) in ranges.items()}
        if score(point) > top:
            best, top = point, score(point)
    step = 0.25
    while step >= tolerance and len(history) < budget:
        improved = False
        moves = list(itertools.product(ranges, (1, -1)))
        generator.shuffle(moves)
        for name, sign in moves:
            low, high = ranges[name]
            while len(history) < budget:
                value = min(high, max(low, best[name] + sign * step * (high - low)))
                point = best | {name: value}
                if value == best[name] or not score(point) > top:
                    break
                best, top, improved = point, score(point), True
        if not improved:
            step /= 2
    return best, top, tuple(history)


def search_coefficients(
    members: Mapping[str, Source | Tensors],
    evaluate: Callable[[dict[str, Tensor]], float],
    *,
    method: MergeMethod | None = None,
    base: Source | Tensors | None = None,
    statistics: Mapping[str, Sequence[Source | Tensors]] | None = None,
    weights: Range | None = (0.0, 1.0),
    parameters: Mapping[str, Range] | None = None,
    granularity: Granularity = "model",
    start: Point | None = None,
    budget: int = 50,
    tolerance: float = 0.01,
    seed: int = 0,
) -> Found:
    """The weights, and parameters of the method, with the best score; see `maximize` for how they are found.

    Args:
        members: label -> state dict or checkpoint, with equal names and shapes.
        evaluate: the score of a merged state dict, higher is better, on held-out data.
        method: the formula; None = `Linear`.
        base: for methods on task vectors.
        statistics: what the method needs, as for `merge_state_dicts`.
        weights: the range of every weight; None leaves all at 1.
        parameters: field of the method -> its range, e.g. {"scale": (0.1, 2)}.
        granularity: weights for the model, per layer, or per tensor: M of them for each.
        start: first values: a member's label for its weight, "label@match" for a group's, or a parameter's name. What is
            left out starts in the middle of its range.
        budget: most evaluations.
        tolerance: see `maximize`.
        seed: of the search; the merge's own seed is 0.

    Returns:
        The best weights, the method with the best parameters, and the merged model. Points whose weights the method refuses
        (all 0 for an average) count as -inf.

    Raises:
        CompressionError: there is nothing to search, or a range, parameter or score is unusable.
    """
    chosen = Linear() if method is None else method
    fields = {field.name for field in dataclasses.fields(chosen)}  # type: ignore[arg-type]
    for name in parameters or {}:
        if name not in fields:
            raise CompressionError(f"{chosen.name} has no parameter {name!r}; it has {', '.join(sorted(fields)) or 'none'}")
    labels = tuple(members)
    names = list(as_tensors(base if base is not None else members[labels[0]])) if labels else []
    groups = groups_of(names, granularity) if weights is not None else []
    ranges: dict[str, Range] = {}
    for group in groups:
        ranges |= {_key(label, group): weights for label in labels if weights is not None}
    ranges |= dict(parameters or {})

    def merged(point: Point) -> dict[str, Tensor]:
        tuned = _tuned(chosen, point, parameters)
        found = _coefficients(labels, groups, point)
        return merge_state_dicts(tuned, members, base=base, weights=found.of, statistics=statistics)

    def objective(point: Point) -> float:
        found = _coefficients(labels, groups, point)
        try:
            for name in names:
                chosen.check_weights(found.of(name), name)
        except CompressionError:
            return -math.inf
        return evaluate(merged(point))

    best, top, history = maximize(objective, ranges, start=start, budget=budget, tolerance=tolerance, seed=seed)
    return Found(
        coefficients=_coefficients(labels, groups, best),
        method=_tuned(chosen, best, parameters),
        state_dict=merged(best),
        score=top,
        history=history,
    )


def _tuned(method: MergeMethod, point: Point, parameters: Mapping[str, Range] | None) -> MergeMethod:
    return dataclasses.replace(method, **{name: point[name] for name in parameters or {}})  # type: ignore[type-var]


def _key(label: str, group: str | None) -> str:
    return label if group is None else f"{label}@{group}"


def _coefficients(labels: tuple[str, ...], groups: Sequence[str | None], point: Point) -> Coefficients:
    rows = {group: tuple(point[_key(label, group)] for label in labels) for group in groups}
    outside = rows.pop(None, (1.0,) * len(labels))
    return Coefficients(
        members=labels, weights=outside, groups={group: row for group, row in rows.items() if group is not None}
    )
