"""What an evaluation compared, kept for what is asked about single rows afterwards."""

from collections.abc import Sequence
from typing import Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import EXAMPLES, Predictions


class Kept(Metric):
    """A metric that gives no number: it keeps what it is asked about, so every task hands over its rows as it counts them.

    Attributes:
        predictions: N, in the order of the rows; of a task without predictions the nll of each.
        references: N; how many tokens that is of.
    """

    name: ClassVar[str] = "kept"
    takes: ClassVar[tuple[Predictions, ...]] = tuple(EXAMPLES)
    greater_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self.predictions: list[Any] = []
        self.references: list[Any] = []

    @property
    def gives(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Keep them."""
        self.predictions, self.references = list(predictions), list(references)
        return {}
