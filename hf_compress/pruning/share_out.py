"""How one sparsity is shared among layers by what each of them costs, so that the sum of the costs is least."""

from collections.abc import Mapping, Sequence

import numpy
from sklearn.isotonic import isotonic_regression

_STEP = 0.005
"""Of the sparsities between which costs are compared."""


def share_out(
    curves: Mapping[str, Sequence[tuple[float, float]]], sizes: Mapping[str, int], sparsity: float
) -> tuple[dict[str, float], float]:
    r"""The sparsities s_g with sum_g n_g s_g = sparsity * sum_g n_g for which sum_g f_g(s_g) is least.

    f_g goes through (0, 0) and the points of layer g, each raised to those before it (losing more weights does not help
    but by chance) and to 0, and in between

        sqrt(f_g) is linear in s,

    because a loss near its least grows with the square of what changes. Of that the largest convex function below it is
    taken, in steps of 0.005: its steps are used up in the order of df_g / (n_g ds), the loss for each weight, so that this
    is the same in all layers in the end, which is the least sum there is. Equal steps go from the lowest sparsity up.

    Args:
        curves: layer -> its points (s, increase of the loss), s rising and above 0; up to the last of them it is pruned,
            and not at all without any.
        sizes: layer -> its weights n_g.
        sparsity: the overall one.

    Returns:
        Sparsity per layer; and sum_g f_g(s_g).

    Raises:
        ValueError: no layers, or the points do not reach the overall sparsity.
    """
    ends = {name: points[-1][0] if points else 0.0 for name, points in curves.items()}
    reachable = sum(end * sizes[name] for name, end in ends.items()) / max(sum(sizes.values()), 1)
    if not curves or sparsity > reachable + 1e-12:
        raise ValueError(f"the points reach an overall sparsity of {reachable:.4g}, and {sparsity:.4g} is asked for")
    names, lengths, costs, places = list(curves), [], [], []
    for name in names:
        length, increments = _increments(curves[name])
        lengths.append(numpy.full(len(increments), length * sizes[name]))
        costs.append(increments)
        places.append(numpy.arange(len(increments)))
    zeros, cost, place = (numpy.concatenate(parts) for parts in (lengths, costs, places))
    owner = numpy.repeat(numpy.arange(len(names)), [len(part) for part in costs])
    order = numpy.lexsort((owner, place, cost / zeros))
    before = numpy.cumsum(zeros[order]) - zeros[order]
    taken = numpy.zeros(len(zeros))
    taken[order] = numpy.clip((sparsity * sum(sizes.values()) - before) / zeros[order], 0, 1)
    shares = {name: float((taken * zeros)[owner == number].sum()) / sizes[name] for number, name in enumerate(names)}
    return shares, float((taken * cost).sum())


def _increments(points: Sequence[tuple[float, float]]) -> tuple[float, numpy.ndarray]:
    """The length of a step, and what each costs more than the one before it, none less than the one before it does."""
    if not points:
        return 0.0, numpy.empty(0)
    at = numpy.array([0.0, *(share for share, _ in points)])
    raised = numpy.maximum.accumulate([0.0, *(increase for _, increase in points)])
    count = max(round(at[-1] / _STEP), 1)
    fine = numpy.interp(numpy.linspace(0, at[-1], count + 1), at, numpy.sqrt(raised)) ** 2
    return at[-1] / count, numpy.maximum(isotonic_regression(numpy.diff(fine)), 0.0)
