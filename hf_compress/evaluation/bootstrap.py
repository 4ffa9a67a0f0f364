"""How sure a number of some rows is: what it would be of other rows like them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy
from numpy import ndarray

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._progress import progress
from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric

_AT_ONCE = 4_000_000
"""Drawn row numbers in memory."""


@dataclass(frozen=True, kw_only=True)
class Bootstrap(metaclass=CheckedKinds):
    """Percentile intervals of resampled rows.

    As many rows as there are are drawn from them with replacement, `resamples` times, and each time everything is computed
    of the same drawn rows: both models' numbers, and their difference. The interval reaches from the (1 - level) / 2 to the
    (1 + level) / 2 quantile. It says what other rows from the same source would give, and nothing of other sources.

    Attributes:
        resamples: how often rows are drawn.
        level: the share of intervals that hold the true number, in (0, 1).
        seed: of the draws.

    Source: Efron and Tibshirani 1993, chapter 13; of paired systems Koehn 2004.
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    reference: ClassVar[Reference | None] = Reference(
        authors="Philipp Koehn",
        title="Statistical Significance Tests for Machine Translation Evaluation",
        year=2004,
        link="https://aclanthology.org/W04-3250",
    )

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise CompressionError(f"resamples={self.resamples} is too few for a quantile; write 100 or more")
        if not 0 < self.level < 1:
            raise CompressionError(f"level={self.level} must lie between 0 and 1; 0.95 is usual")
        if not 0 <= self.seed < 2**32:
            raise CompressionError(f"seed={self.seed} must lie between 0 and 2**32 - 1")

    def draws(self, num_rows: int) -> Iterator[ndarray]:
        """Drawn row numbers, (R, num_rows), some resamples at a time."""
        generator = numpy.random.default_rng(self.seed)
        at_once = max(1, _AT_ONCE // max(num_rows, 1))
        for begin in range(0, self.resamples, at_once):
            yield generator.integers(num_rows, size=(min(at_once, self.resamples - begin), num_rows))

    def interval(self, drawn: ndarray) -> tuple[float, float]:
        """From a number of every resample; those in which it is not defined (NaN) do not count."""
        low, high = numpy.nanquantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(low), float(high)


class Quantity(Protocol):
    """Numbers of rows, by name."""

    num_rows: int

    def of(self, drawn: ndarray, counts: ndarray) -> dict[str, ndarray]:
        """Of R resamples.

        Args:
            drawn: (R, N) row numbers.
            counts: (R, N), how often each row is among them.

        Returns:
            (R,) for each name.
        """


class Summed:
    """Numbers that are a function of sums over rows.

    Args:
        statistics: (N, K), what each row adds.
        of_sums: sums (R, K) -> numbers (R,) by name.
    """

    def __init__(self, statistics: ndarray, of_sums: Callable[[ndarray], dict[str, ndarray]]) -> None:
        self.statistics, self.of_sums, self.num_rows = statistics, of_sums, len(statistics)

    def of(self, drawn: ndarray, counts: ndarray) -> dict[str, ndarray]:
        """One matrix product."""
        return self.of_sums(counts @ self.statistics)


class Recomputed:
    """A metric that is computed anew of every resample.

    Args:
        metric: computes.
        predictions: N.
        references: N.
    """

    def __init__(self, metric: Metric, predictions: Sequence[Any], references: Sequence[Any]) -> None:
        self.metric, self.predictions, self.references = metric, predictions, references
        self.num_rows = len(predictions)

    def of(self, drawn: ndarray, counts: ndarray) -> dict[str, ndarray]:
        """NaN where the metric is not defined."""
        found = [self._one(rows) for rows in drawn.tolist()]
        return {key: numpy.array([one.get(key, numpy.nan) for one in found]) for key in self.metric.gives}

    def _one(self, rows: list[int]) -> dict[str, float]:
        try:
            return self.metric.compute([self.predictions[row] for row in rows], [self.references[row] for row in rows])
        except CompressionError:
            return {}


def quantity_of(metric: Metric, predictions: Sequence[Any], references: Sequence[Any]) -> Quantity:
    """The fast way where the metric has one."""
    statistics = metric.statistics(predictions, references)
    return Recomputed(metric, predictions, references) if statistics is None else Summed(statistics, metric.of_sums)


def resample(quantities: Sequence[Quantity], bootstrap: Bootstrap, description: str = "") -> list[dict[str, ndarray]]:
    """The numbers of every resample, (resamples,) for each name; every quantity sees the same drawn rows.

    Args:
        quantities: of the same N rows.
        bootstrap: how often rows are drawn.
        description: the progress bar's label.
    """
    (num_rows,) = {quantity.num_rows for quantity in quantities}
    blocks: list[list[dict[str, ndarray]]] = []
    with progress(None, description, total=bootstrap.resamples, leave=False) as bar:
        for drawn in bootstrap.draws(num_rows):
            counts = numpy.stack([numpy.bincount(rows, minlength=num_rows) for rows in drawn]).astype(numpy.float64)
            blocks.append([quantity.of(drawn, counts) for quantity in quantities])
            bar.update(len(drawn))
    return [
        {key: numpy.concatenate([block[place][key] for block in blocks]) for key in blocks[0][place]}
        for place in range(len(quantities))
    ]
