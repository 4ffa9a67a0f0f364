"""The contract of a metric: predictions and what is right, as numbers.

A metric is a strategy in a file of its own below `builtin/`. It says

- `takes`: which kinds of predictions it compares (`predictions.py` lists them, with the form of each),
- `greater_is_better`, and `gives`: the keys of its result, by default its name,
- `packages`: what it wraps beside scikit-learn and scipy; the constructor refuses where one is missing,
- `score(predictions, references)`: the numbers. It is never asked about no row, or about unequal numbers of rows,
- `statistics(predictions, references)` and `of_sums(sums)`, where it is a function of sums over rows, as most are: what
  each row adds, and the numbers of such sums. Resamples of rows are then a matrix product,
- `row_scores(predictions, references)`: how good each row is by itself, where a row has such a number.

A task says what it predicts; `counted.py` makes predictions and references of logits and labels, batch by batch, in the
Trainer and for reports, and asks every metric once, about all rows. So a metric need not be a mean over rows, and knows
nothing of batches and processes.

    Accuracy().compute([0, 1, 1], [0, 1, 0])                     # {"accuracy": 0.667}
    Accuracy().module().compute(predictions=..., references=...)  # the same, as an `evaluate.Metric`
"""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy
from hf_compress.tasks.metrics.predictions import Predictions, features_of

if TYPE_CHECKING:
    from numpy import ndarray

EXTRA = "pip install 'hf-compress[metrics]'"
"""Brings every package that a built-in metric wraps."""


class Metric(Strategy, kind="metric", package="hf_compress.tasks.metrics.builtin"):
    """Says how good predictions are; its fields are its options.

    Attributes:
        takes: the kinds of predictions that it compares.
        greater_is_better: the direction of all it gives.
        packages: modules that it imports and that hf_compress does not depend on.
        quick: a thousand sets of rows are a matter of seconds. One that has no `statistics` and is not quick gets an
            interval where an evaluation is asked for, and none in the report of a training.
    """

    takes: ClassVar[tuple[Predictions, ...]]
    greater_is_better: ClassVar[bool]
    packages: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = False

    def __post_init__(self) -> None:
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            raise CompressionError(
                f"the metric {self.name} needs the package {missing[0]}, which is not installed: {EXTRA}"
            )

    @property
    def gives(self) -> tuple[str, ...]:
        """The keys of its result, the main one first."""
        return (self.name,)

    def check(self, kind: Predictions, labels: Sequence[str]) -> None:
        """Refuse a task whose predictions it cannot compare; asked before anything is trained.

        Args:
            kind: what the task predicts.
            labels: in the order of their ids; empty for a task without, or where they are not known yet.

        Raises:
            CompressionError: with the metrics that fit.
        """
        if kind not in self.takes:
            fitting = [name for name, cls in Metric.available().items() if kind in cls.takes]
            raise CompressionError(
                f"{self.name} compares {' or '.join(self.takes)}, and this task predicts {kind}; name one of"
                f" {', '.join(fitting)}"
            )

    def open(self, kind: Predictions) -> None:
        """Fetch what it needs from outside, if anything; asked before anything is trained, and where `check` was content.

        Args:
            kind: what the task predicts.

        Raises:
            CompressionError: it cannot be had.
        """

    def compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """The metric over all rows.

        Args:
            predictions: N, of a kind that it takes.
            references: N, what is right.

        Returns:
            A number for each of `gives`.

        Raises:
            CompressionError: there are no rows, not equally many, or some that it cannot compare.
        """
        self.check_rows(predictions, references)
        return self.score(predictions, references)

    def check_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> None:
        """Refuse no rows, and unequal numbers of them.

        Raises:
            CompressionError: with both numbers.
        """
        if len(predictions) != len(references):
            raise CompressionError(
                f"{self.name} compares predictions one by one: there are {len(predictions)} predictions and"
                f" {len(references)} references; pass one reference for each prediction"
            )
        if len(predictions) == 0:
            raise CompressionError(
                f"{self.name} of no predictions is not defined; the evaluation split has no row with a label"
            )

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """See `compute`; at least one row, and equally many."""
        raise TypeError(f"{type(self).__name__} defines no score()")

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray | None":
        """What each row adds to the metric, for `of_sums`.

        Args:
            predictions: see `compute`.
            references: see `compute`.

        Returns:
            (N, K) fp64; None for a metric that is no function of sums over rows, which is then computed anew of every
            resample of rows.
        """
        return None

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """The metric of R sets of rows.

        Args:
            sums: (R, K), `statistics` summed over the rows of each set; a row may be in it more than once.

        Returns:
            (R,) for each of `gives`; for the sums over all rows what `score` says of them.
        """
        raise TypeError(f"{type(self).__name__} has statistics(), and no of_sums() that reads their sums")

    def row_scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray | None":
        """How good each row is by itself, (N,), in the metric's direction; None where a row has no such number.

        By default the main number of a set with that row alone. Two models' numbers of a row are compared, and no others.
        """
        statistics = self.statistics(predictions, references)
        return None if statistics is None else self.of_sums(statistics)[self.gives[0]]

    def module(self, **options: Any) -> Any:
        """The same as an `evaluate.Metric`, which needs no network.

        Args:
            **options: of its constructor, such as `cache_dir`. By default it keeps everything in memory.
        """
        from hf_compress.tasks.metrics.module import as_module

        features = [feature for kind in self.takes for feature in features_of(kind)]
        return as_module(self, features, **options)
