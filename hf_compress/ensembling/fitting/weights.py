"""Weights of the members that make a combiner's log-loss small."""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner, log_probabilities
from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities
from hf_compress.ensembling.labelled_rows import at_labels, checked, mean_nll

logger = logging.getLogger(__name__)

IDLE = 1e-4
"""Weights below are those of members of no use, where leaving them out costs no more than the tolerance."""


@dataclass(frozen=True, kw_only=True)
class FittedWeights:
    """Weights, and what they are worth on the rows that they were fitted on; log-losses are mean nats per row.

    Attributes:
        weights: one per member, 0 or more, with sum 1.
        nll: with these weights.
        nll_equal: with equal weights.
        nll_members: of each member alone.
        gap: no weights have a log-loss below `nll - gap`; None where the combiner allows no such bound.
    """

    weights: tuple[float, ...]
    nll: float
    nll_equal: float
    nll_members: tuple[float, ...]
    gap: float | None


def fit_weights(
    logits: Tensor,
    labels: Tensor,
    combiner: Combiner | None = None,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
) -> FittedWeights:
    """The weights that minimise the mean of -log p[label], p = combiner(members, weights).

    For `mean_probabilities` the problem is convex and solved to within `tolerance`. For others L-BFGS goes down from equal
    weights (with weights = softmax of what it moves), and to within `tolerance` the result is as good as equal weights and
    as any member alone. Weights below `IDLE` become 0 where that costs no more: such members need not be asked.

    Args:
        logits: (M, N, C), of rows that no member was trained on.
        labels: (N,) classes.
        combiner: None = `MeanProbabilities()`.
        tolerance: nats per row; for other combiners, of the largest slope.
        max_iterations: a warning says if they did not suffice.

    Raises:
        CompressionError: logits or labels cannot be used, or the combiner's result moves in jumps as the weights do.
    """
    combiner = combiner or MeanProbabilities()
    logits, labels = checked(logits, labels)
    logits, gap = logits.double(), None
    if isinstance(combiner, MeanProbabilities):
        likelihoods = at_labels(log_probabilities(logits), labels)
        weights, gap = mixture_weights(likelihoods, tolerance=tolerance, max_iterations=max_iterations)
    else:
        weights = _descend(logits, labels, combiner, tolerance, max_iterations)
    found = _nll(logits, labels, combiner, weights)
    weights = _no_worse(weights, logits, labels, combiner, tolerance)
    nll = _nll(logits, labels, combiner, weights)
    return FittedWeights(
        weights=tuple(weights.tolist()),
        nll=nll,
        nll_equal=_nll(logits, labels, combiner, None),
        nll_members=tuple(mean_nll(log_probabilities(logits), labels).tolist()),
        gap=None if gap is None else gap + max(0.0, nll - found),
    )


def mixture_weights(
    log_likelihoods: Tensor, *, tolerance: float = 1e-6, max_iterations: int = 10_000
) -> tuple[Tensor, float]:
    """The weights w that maximise mean_n log sum_m w_m p_mn, by expectation and maximisation.

    w_m <- w_m g_m with g_m = mean_n p_mn / sum_k w_k p_kn, from equal weights; no step makes it worse. As the problem is
    convex, the maximum is at most log max_m g_m above what w has, which is where it stops. It is what `fit_weights` does
    for `mean_probabilities`, and needs no more of a language model than what each token that came had as a log-probability.

    Args:
        log_likelihoods: (M, N), log p_mn of what came. A number added to all members of a row changes nothing; -inf where
            it was impossible for a member, but not for all.
        tolerance: nats per row.
        max_iterations: a warning says if they did not suffice.

    Returns:
        (M,) in fp64 and the bound in nats.

    Raises:
        CompressionError: another shape, no members or rows, NaN, or a row that is impossible for all members.

    Source: Cover 1984, where p_mn are returns of shares and w is a portfolio.
    """
    if log_likelihoods.ndim != 2 or not log_likelihoods.numel():
        raise CompressionError(
            f"log-likelihoods of shape {tuple(log_likelihoods.shape)} given; expected are (members, rows), none empty"
        )
    log_likelihoods = log_likelihoods.detach().cpu().double()
    for member, own in enumerate(log_likelihoods):
        if own.isnan().any() or own.isposinf().any():
            raise CompressionError(f"member {member} has a log-likelihood that is NaN or infinite; look at its model")
    largest = log_likelihoods.amax(0)
    if largest.isneginf().any():
        row = int(largest.isneginf().nonzero()[0])
        raise CompressionError(f"row {row} is impossible for all members, whatever their weights; leave it out")
    likelihoods = (log_likelihoods - largest).exp()
    weights = likelihoods.new_full((len(likelihoods),), 1 / len(likelihoods))
    for _ in range(max_iterations):
        gains = (likelihoods / (weights @ likelihoods)).mean(1)
        gap = max(0.0, math.log(float(gains.amax())))
        if gap <= tolerance:
            break
        weights = weights * gains
    else:
        logger.warning("%d iterations leave the weights at most %.3g nats from the best", max_iterations, gap)
    return weights / weights.sum(), gap


def _descend(logits: Tensor, labels: Tensor, combiner: Combiner, tolerance: float, max_iterations: int) -> Tensor:
    """(M,) in fp64, by L-BFGS on s with w = softmax(s)."""
    scores = logits.new_zeros(len(logits)).requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [scores],
        max_iter=max_iterations,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = mean_nll(combiner.combine(logits, scores.softmax(0)), labels)
        check_smooth(value, combiner)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    if optimizer.state[scores]["n_iter"] >= max_iterations:
        logger.warning("%d iterations were too few to find the weights of %s", max_iterations, combiner.name)
    return scores.detach().softmax(0)


def check_smooth(loss: Tensor, combiner: Combiner) -> None:
    """Refuse a combiner whose result has no slope in the weights.

    Raises:
        CompressionError: naming those that have one.
    """
    if not loss.requires_grad:
        raise CompressionError(
            f"the result of {combiner.name} moves in jumps as the weights do, so no slope leads to good ones; fit them for"
            " mean_probabilities or mean_logits"
        )


def _no_worse(weights: Tensor, logits: Tensor, labels: Tensor, combiner: Combiner, tolerance: float) -> Tensor:
    """These weights without idle members, these as they are, equal ones, or one member alone: the first of the best."""
    members = len(weights)
    busy = weights.masked_fill(weights < IDLE, 0.0)
    candidates = [busy / busy.sum(), weights, torch.full_like(weights, 1 / members), *torch.eye(members).to(weights)]
    losses = [_nll(logits, labels, combiner, one) for one in candidates]
    return candidates[next(place for place, loss in enumerate(losses) if loss <= min(losses) + tolerance)]


def _nll(logits: Tensor, labels: Tensor, combiner: Combiner, weights: Tensor | None) -> float:
    return float(mean_nll(combiner.combine(logits, weights), labels))
