"""Whether one model is better on more rows than the other, beyond what a coin would give."""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class SignTest:
    """The exact two-sided sign test of two models on the same rows.

    Of the n = better + worse rows on which they differ, k = min(better, worse); if neither were better, each would be with
    probability 1/2, and p = min(1, 2 sum_{i <= k} C(n, i) / 2^n) is the probability of a split at least as uneven. It
    counts rows and not by how much they differ: a metric may move one way and most rows the other.

    Attributes:
        better: rows on which the model is better than the baseline.
        worse: rows on which it is worse.
        equal: the others, which do not count.
        p_value: 1 where no row differs.
        holm_p_value: the same, corrected for all tests that stand beside it; None where it stands alone.

    Source: Dixon and Mood 1946, by scipy.stats.binomtest.
    """

    better: int
    worse: int
    equal: int
    p_value: float
    holm_p_value: float | None = None


def sign_test(model: ndarray, baseline: ndarray, greater_is_better: bool) -> SignTest:
    """Compare row by row.

    Args:
        model: (N,), how good each row is.
        baseline: (N,), the same rows.
        greater_is_better: the direction of both.
    """
    from scipy.stats import binomtest

    more, less = int((model > baseline).sum()), int((model < baseline).sum())
    better, worse = (more, less) if greater_is_better else (less, more)
    p_value = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return SignTest(better=better, worse=worse, equal=len(model) - better - worse, p_value=p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values that may be read side by side, in the order of the given ones.

    Of m sorted p_(1) <= ... <= p_(m), the i-th becomes min(1, max_{j <= i} (m - j + 1) p_(j)). That any of them is alpha or
    less though no two models differ has at most the probability alpha, however the tests hang together.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, (len(p_values) - place) * p_values[at])
        corrected[at] = min(1.0, largest)
    return corrected
