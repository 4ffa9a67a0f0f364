"""One temperature for each member, so that its probabilities say how often it is right."""

import logging
import math
from dataclasses import dataclass

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import log_probabilities
from hf_compress.ensembling.labelled_rows import at_labels, checked, mean_nll

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FittedTemperatures:
    """Temperatures, and what they are worth on the rows that they were fitted on; log-losses are mean nats per row.

    Attributes:
        temperatures: one per member; above 1 where the member was too sure of itself, below 1 where it was not sure enough.
        nll_before: of each member as it is.
        nll_after: of each member with its temperature.
        at_limit: places of members for which no better temperature lies between the limits.
    """

    temperatures: tuple[float, ...]
    nll_before: tuple[float, ...]
    nll_after: tuple[float, ...]
    at_limit: tuple[int, ...] = ()


def fit_temperatures(logits: Tensor, labels: Tensor, *, lowest: float = 0.01, highest: float = 100.0) -> FittedTemperatures:
    """The T_m in [lowest, highest] that minimise mean_n -log softmax(z_mn / T_m)[label_n].

    The loss is convex in b = 1 / T and its slope in b is mean_n(sum_c p_nc z_nc - z_n[label]), so the minimum is where
    that is 0, found by Brent's method. Where it is 0 nowhere between the limits, one limit is the minimum, and a warning
    says so: at `lowest` the member is right on (nearly) all rows, at `highest` its logits say nothing of the labels.

    Args:
        logits: (M, N, C), of rows that no member was trained on.
        labels: (N,) classes.
        lowest: above 0.
        highest: above `lowest`.

    Raises:
        CompressionError: logits, labels or limits cannot be used.

    Source: Guo, Pleiss, Sun, Weinberger 2017, section 4.2 (temperature scaling).
    """
    if not 0 < lowest < highest < math.inf:
        raise CompressionError(
            f"lowest={lowest!r} and highest={highest!r}: temperatures lie above 0, the lowest below the highest"
        )
    logits, labels = checked(logits, labels)
    found = [_temperature(own.double(), labels, lowest, highest) for own in logits]
    at_limit = tuple(place for place, one in enumerate(found) if one in (lowest, highest))
    for member in at_limit:
        logger.warning(
            "member %d has the temperature %g, which is the limit; no better one lies within", member, found[member]
        )
    return FittedTemperatures(
        temperatures=tuple(found),
        nll_before=tuple(float(mean_nll(log_probabilities(own.double()), labels)) for own in logits),
        nll_after=tuple(
            float(mean_nll(log_probabilities(own.double() / temperature), labels))
            for own, temperature in zip(logits, found, strict=True)
        ),
        at_limit=at_limit,
    )


def _temperature(logits: Tensor, labels: Tensor, lowest: float, highest: float) -> float:
    """(N, C), (N,) -> T."""
    from scipy.optimize import brentq

    target = float(at_labels(logits, labels).mean())

    def slope(log_temperature: float) -> float:
        probabilities = log_probabilities(logits / math.exp(log_temperature)).exp()
        return float((probabilities * logits).sum(-1).mean()) - target

    low, high = math.log(lowest), math.log(highest)
    if slope(low) <= 0 <= slope(high):  # all logits of a row are the same, and any temperature is as good
        return min(max(1.0, lowest), highest)
    if slope(low) <= 0:
        return lowest
    if slope(high) >= 0:
        return highest
    return math.exp(brentq(slope, low, high, xtol=1e-12, rtol=1e-12))
