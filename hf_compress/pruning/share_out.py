"""How one sparsity is shared among layers by what each of them costs, so that the sum of the costs is least."""

from collections.abc import Mapping, Sequence

import numpy
from sklearn.isotonic import isotonic_regression

_STEP = 0.005
"""Of the sparsities between which costs are compared."""


def share_out(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    sizes: Mapping[str, int],
    sparsity: float,
    held: Mapping[str, float] | None = None,
) -> tuple[dict[str, float], float]:
    r"""The sparsities s_g with sum_g n_g s_g = sparsity * sum_g n_g for which sum_g f_g(s_g) is least.

    f_g goes through (h_g, 0), where h_g of layer g is zero already, and its points, each raised to those before it (losing
    more weights does not help but by chance) and to 0, and in between

        sqrt(f_g) is linear in s,

    because a loss near its least grows with the square of what changes. Of that the largest convex function below it is
    taken, in steps of 0.005: its steps are used up in the order of df_g / (n_g ds), the loss for each weight, so that this
    is the same in all layers in the end, which is the least sum there is. Equal steps go from the lowest sparsity up.

    Args:
        curves: layer -> its points (s, increase of the loss), s rising and above h_g; up to the last of them it is pruned,
            and not at all without any.
        sizes: layer -> its weights n_g.
        sparsity: the overall one.
        held: layer -> h_g; 0 where it is not named.

    Returns:
        Sparsity per layer; and sum_g f_g(s_g).

    Raises:
        ValueError: no layers, the points do not reach the overall sparsity, or the zeros that are there are beyond it.
    """
    begun = {name: (held or {}).get(name, 0.0) for name in curves}
    ends = {name: points[-1][0] if points else begun[name] for name, points in curves.items()}
    total = sum(sizes.values())
    there = sum(begun[name] * sizes[name] for name in curves)
    reachable = sum(end * sizes[name] for name, end in ends.items()) / max(total, 1)
    if there > (sparsity + 1e-9) * total:
        raise ValueError(f"{there / total:.4g} of the weights are zero already, and {sparsity:.4g} is asked for")
    if not curves or sparsity > reachable + 1e-12:
        raise ValueError(f"the points reach an overall sparsity of {reachable:.4g}, and {sparsity:.4g} is asked for")
    names, lengths, costs, places = list(curves), [], [], []
    for name in names:
        length, increments = _increments(curves[name], begun[name])
        lengths.append(numpy.full(len(increments), length * sizes[name]))
        costs.append(increments)
        places.append(numpy.arange(len(increments)))
    zeros, cost, place = (numpy.concatenate(parts) for parts in (lengths, costs, places))
    owner = numpy.repeat(numpy.arange(len(names)), [len(part) for part in costs])
    order = numpy.lexsort((owner, place, cost / zeros))
    before = numpy.cumsum(zeros[order]) - zeros[order]
    taken = numpy.zeros(len(zeros))
    taken[order] = numpy.clip((sparsity * total - there - before) / zeros[order], 0, 1)
    shares = {
        name: begun[name] + float((taken * zeros)[owner == number].sum()) / sizes[name] for number, name in enumerate(names)
    }
    return shares, float((taken * cost).sum())


def _increments(points: Sequence[tuple[float, float]], begun: float) -> tuple[float, numpy.ndarray]:
    """The length of a step, and what each costs more than the one before it, none less than the one before it does."""
    if not points:
        return 0.0, numpy.empty(0)
    at = numpy.array([begun, *(share for share, _ in points)])
    raised = numpy.maximum.accumulate([0.0, *(increase for _, increase in points)])
    count = max(round((at[-1] - begun) / _STEP), 1)
    fine = numpy.interp(numpy.linspace(begun, at[-1], count + 1), at, numpy.sqrt(raised)) ** 2
    return (at[-1] - begun) / count, numpy.maximum(isotonic_regression(numpy.diff(fine)), 0.0)
