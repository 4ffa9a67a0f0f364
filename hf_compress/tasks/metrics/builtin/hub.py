"""Any metric of the evaluate hub."""

import functools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hf_compress._errors import CompressionError, reason_of
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import EXAMPLES, Predictions

logger = logging.getLogger(__name__)

_OWNER = "evaluate-metric"
"""Who publishes the hub's own metrics: Hugging Face."""


@dataclass(frozen=True, kw_only=True)
class Hub(Metric, name="hub"):
    """A metric that Hugging Face publishes as `evaluate-metric/<metric>`, fetched by `evaluate.load`.

    It is a script, which is downloaded, kept in the cache and run here. So no bare name does this: a recipe that wants it
    says so, and metrics of anybody else are loaded by nobody but the user's own Python.

    Attributes:
        metric: its name there, such as `mase`.
        config: of the metric, where it has several.
        keys: of its result, the main one first; by default the one of its name. Only numbers can be kept.
        greater_is_better: the direction of all of them.
        options: of its `compute`.
    """

    takes: ClassVar[tuple[Predictions, ...]] = tuple(EXAMPLES)

    metric: str
    config: str | None = None
    keys: tuple[str, ...] = ()
    greater_is_better: bool = True  # type: ignore[misc]  # of this one, not of the class
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[a-z0-9_]+", self.metric):
            raise CompressionError(
                f"metric={self.metric!r} is not the name of a metric that Hugging Face publishes; other metrics are code of"
                " somebody else, which no recipe runs: load it in Python and pass compute_metrics to the Trainer"
            )
        if self.metric in Metric.available():
            raise CompressionError(f"metric={self.metric!r}: hf_compress has it, without a network; write {self.metric}")

    @property
    def gives(self) -> tuple[str, ...]:
        """Its keys."""
        return self.keys or (self.metric,)

    def open(self, kind: Predictions) -> None:
        """Fetch it, and try it on an example of what the task predicts.

        Raises:
            CompressionError: it cannot be had, compares something else, or gives other keys.
        """
        example = EXAMPLES[kind]
        try:
            self.score(example.predictions, example.references)
        except CompressionError:
            raise
        except Exception as error:  # of anybody's code
            raise CompressionError(
                f"{self.metric} of the evaluate hub does not compare {kind}, which this task predicts: {reason_of(error)}"
            ) from error

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Its keys."""
        rows = {"predictions": _plain(predictions), "references": _plain(references)}
        found = _load(self.metric, self.config).compute(**rows, **self.options)
        found = found if isinstance(found, dict) else {self.metric: found}
        try:
            return {key: float(found[key]) for key in self.gives}
        except (KeyError, TypeError, ValueError) as error:
            numbers = [key for key, value in found.items() if isinstance(value, int | float) or hasattr(value, "item")]
            raise CompressionError(
                f"{self.metric} of the evaluate hub gives no number {', '.join(self.gives)}; write keys: [...] with some of"
                f" {', '.join(numbers) or 'none, it gives no number at all'}"
            ) from error


def _plain(rows: Sequence[Any]) -> list[Any]:
    """Numbers of Python, which `evaluate` stores by its own types."""
    return [row.item() if hasattr(row, "item") else row for row in rows]


@functools.cache
def _load(name: str, config: str | None) -> Any:
    """The module, once.

    Raises:
        CompressionError: there is no such metric, no network, or a package is missing.
    """
    import evaluate

    path = f"{_OWNER}/{name}"
    if Path(path).exists():
        raise CompressionError(f"the folder {path} would be run in place of the hub's metric; rename it")
    logger.warning("running %s of the Hugging Face Hub: its script is code from outside", path)
    try:
        return evaluate.load(path, config, keep_in_memory=True)
    except (FileNotFoundError, ConnectionError) as error:  # `evaluate` says that it does not exist, network or not
        raise CompressionError(
            f"{name} of the evaluate hub cannot be had: the Hub cannot be reached or has no {path}, and no earlier run left"
            " it in the cache; connect to the network once, or name a metric of hf_compress"
        ) from error
    except Exception as error:  # whatever a script can raise
        raise CompressionError(f"{name} of the evaluate hub cannot be loaded: {reason_of(error)}") from error
