"""How far to go along a new member of a sum: a line search on validation rows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import log_probabilities
from hf_compress.ensembling.labelled_rows import at_labels, checked, mean_nll

_LARGEST = 2.0**20
"""Of a step size, where nothing holds it: the member is right on every row."""


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """A step size, and what it is worth on the rows that it was fitted on.

    Attributes:
        eta: 0 or more; 0: the member is of no use there.
        loss_before: without the member; mean log-loss in nats per row, of numbers the mean squared error.
        loss: with it; never above `loss_before`.
    """

    eta: float
    loss_before: float
    loss: float


def fit_step_size(before: Tensor, own: Tensor, labels: Tensor) -> StepSize:
    """The eta >= 0 that minimises mean_n -log softmax(F_n + eta f_n)[label_n], or mean (F + eta f - y)^2.

    Both are convex in eta. Squared errors have their minimum at sum f (y - F) / sum f^2; of the log-loss the slope,
    mean_n(sum_c p_nc f_nc - f_n[label]), is brought to 0 by Brent's method in fp64.

    Args:
        before: F, the sum of the members so far, (N, C); of numbers (N,) or (N, 1).
        own: f, the new member's answers, of the same shape.
        labels: (N,) classes, whole numbers; floating-point numbers mean regression.

    Raises:
        CompressionError: shapes differ, or something is no finite number or no class.

    Source: Friedman 2001, algorithm 1, line 5.
    """
    if before.shape != own.shape:
        raise CompressionError(
            f"the sum so far has the shape {tuple(before.shape)}, the new member's answers {tuple(own.shape)}; they must be"
            " of the same rows and classes"
        )
    if labels.is_floating_point():
        return _of_numbers(before, own, labels)
    rows, labels = checked(torch.stack([before, own]).float(), labels)
    base, step = rows.double()

    def loss(eta: float) -> float:
        return float(mean_nll(log_probabilities(base + eta * step), labels))

    target = float(at_labels(step, labels).mean())

    def slope(eta: float) -> float:
        return float((log_probabilities(base + eta * step).exp() * step).sum(-1).mean()) - target

    eta = _zero_of(slope)
    losses = {found: loss(found) for found in (0.0, eta)}
    eta = min(losses, key=losses.__getitem__)  # of equal ones the first: rounding may put the minimum behind 0
    return StepSize(eta=eta, loss_before=losses[0.0], loss=losses[eta])


def _zero_of(slope: Callable[[float], float]) -> float:
    """Where a rising slope is 0, from 0 to `_LARGEST`."""
    from scipy.optimize import brentq

    if slope(0.0) >= 0:
        return 0.0
    high = 1.0
    while slope(high) < 0 and high < _LARGEST:
        high *= 2
    return high if slope(high) <= 0 else float(brentq(slope, 0.0, high, xtol=1e-12, rtol=1e-12))


def _of_numbers(before: Tensor, own: Tensor, labels: Tensor) -> StepSize:
    base, step, wanted = (one.detach().cpu().double().flatten() for one in (before, own, labels))
    if len(base) != len(wanted):
        raise CompressionError(f"{len(wanted)} labels for {len(base)} numbers; give one each")
    for name, values in (("the sum so far", base), ("the new member's answers", step), ("labels", wanted)):
        if not len(values) or not values.isfinite().all():
            raise CompressionError(f"{name} must be finite numbers, at least one")
    left, size = wanted - base, float((step * step).sum())
    eta = max(float((step * left).sum()) / size, 0.0) if size else 0.0
    loss_before, loss = float((left * left).mean()), float(((left - eta * step) ** 2).mean())
    return StepSize(eta=eta, loss_before=loss_before, loss=min(loss, loss_before))
