"""By how much a metric may differ where somebody measures it again, on another machine."""

from collections.abc import Mapping

_LIKELIHOODS = ("nll", "loss", "perplexity")
_RELATIVE = 0.002
"""Of sums of logarithms: what 16-bit numbers change between processors and numbers of threads."""
_OF_DECISIONS = 0.005
_FLIPPED = 2
"""Rows whose decision may turn: where two answers are as likely as one another, the last bit decides."""


def tolerances(metrics: Mapping[str, float], num_rows: int | None) -> dict[str, float]:
    """Metric -> the largest difference, in its own unit.

    Counts (`num_*`) must be the same. Likelihoods may differ by 0.2 %, numbers made of decisions by 0.5 % of themselves, or
    by what two rows more or less make of a mean, whichever is more.

    Args:
        metrics: as they were measured.
        num_rows: that were measured; None where it is not known.
    """
    return {name: _tolerance(name, abs(value), num_rows) for name, value in metrics.items()}


def _tolerance(name: str, size: float, num_rows: int | None) -> float:
    if name.startswith("num_"):
        return 0.0
    if name in _LIKELIHOODS:
        return _RELATIVE * size
    return max(_OF_DECISIONS * size, _FLIPPED / num_rows if num_rows else 0.0)
