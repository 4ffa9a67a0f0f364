"""The report as data: one row per model."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self, get_type_hints

from hf_compress._errors import CompressionError
from hf_compress._kinds import fits, shown
from hf_compress.evaluation.thresholds import Thresholds

FORMAT = 2
"""Of report.json. 1 had no such number, and neither intervals, thresholds, chance, curves, layers nor examples."""
_DERIVED = ("format", "verdict")
"""In the file for its readers; no part of the value."""
_PICTURED = ("history", "marks", "layers", "examples")
"""What only pictures and examples are made of: not in manifests, which cards are made of."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of the comparison.

    Attributes:
        name: what it is.
        metrics: measured on the test split of the reloaded checkpoint.
        file_bytes: weight files on disk.
        quantized_ratio: size of the quantized layers relative to bf16, None without any.
        sparsity: share of exact zeros in the pruned layers before quantization, None without pruning.
        train_s: seconds of training that this row needed on top of the dense model, None when it was not measured.
        quantized_share: weights of quantized layers / all weights, None without any.
        zeros_share: zeros of pruned layers / all weights, None without pruning.
        intervals: metric -> (low, high), the confidence interval of its value where one was made.
        latency_ms: median milliseconds of one forward pass, None where it was not timed.
        answers: what it says to the report's examples, in their order.
    """

    name: str
    metrics: dict[str, float]
    file_bytes: int
    quantized_ratio: float | None = None
    sparsity: float | None = None
    train_s: float | None = None
    quantized_share: float | None = None
    zeros_share: float | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    latency_ms: float | None = None
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One matrix of the last row.

    Attributes:
        name: on disk.
        num_weights: its entries.
        bits: 8 x bytes on disk, with scales and shapes, / entries.
        sparsity: share of exact zeros before rounding, None where it was not pruned; of a finished model that was measured
            as it computes.
    """

    name: str
    num_weights: int
    bits: float
    sparsity: float | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One input of those that were measured; the rows have the answers.

    Attributes:
        input: as text, cut where it is long.
        expected: what is right.
    """

    input: str
    expected: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The rows and what they were measured on.

    Attributes:
        title: the run's name.
        metric: the one to compare by.
        greater_is_better: its direction.
        rows: dense first.
        setting: data, hardware, versions, date.
        reach: how much of the model was compressed, and what was left, a sentence each.
        also: other metrics that were asked for, and whether more of each is better.
        loading: what the result asks of those who load it; empty for nothing.
        thresholds: what the verdict goes by.
        chance: the metric of a model that knows nothing of its input; None where that is not known.
        measured: the rows that were measured, see `measured_rows`; empty where nobody knows where they are from.
        history: what the training logged, each with its `step`.
        marks: what begins or ends at which step.
        layers: of the last row.
        examples: a few of the inputs.
        notes: sentences about what the numbers are, or lack.
    """

    title: str
    metric: str
    greater_is_better: bool
    rows: tuple[Row, ...]
    setting: dict[str, Any]
    reach: tuple[str, ...] = ()
    also: dict[str, bool] = field(default_factory=dict)
    loading: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)
    chance: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    marks: dict[str, int] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()

    def to_plain(self, full: bool = True) -> dict[str, Any]:
        """The fields, and the number of their format.

        Args:
            full: with what only pictures and examples are made of.
        """
        data = {"format": FORMAT, **asdict(self)}
        if not full:
            data = {key: value for key, value in data.items() if key not in _PICTURED}
            data["rows"] = [{key: value for key, value in row.items() if key != "answers"} for row in data["rows"]]
        return json.loads(json.dumps(data))  # type: ignore[no-any-return]  # tuples become lists, as a reader will see them

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Self:
        """Back from report.json, also one of an older format.

        Raises:
            CompressionError: a later version wrote it.
            TypeError, KeyError: it is no report.
        """
        if not isinstance(data, dict):
            raise TypeError("a report is a mapping")
        known = data.get("format", 1)
        if not isinstance(known, int) or known > FORMAT:
            raise CompressionError(
                f"the report has format {known!r}, and this version reads up to {FORMAT}; install a later one"
            )
        fields = {key: value for key, value in data.items() if key not in _DERIVED}
        fields["rows"] = tuple(_row(row) for row in data["rows"])
        fields["reach"] = tuple(data.get("reach", ()))
        fields["thresholds"] = Thresholds(**data.get("thresholds", {}))
        fields["history"] = tuple(data.get("history", ()))
        fields["layers"] = tuple(Layer(**layer) for layer in data.get("layers", ()))
        fields["examples"] = tuple(Example(**example) for example in data.get("examples", ()))
        fields["notes"] = tuple(data.get("notes", ()))
        made = cls(**fields)
        made._refuse_kinds()
        return made

    def _refuse_kinds(self) -> None:
        """Refuse what somebody has written into a file by hand and no table can show.

        Raises:
            TypeError, KeyError: naming it.
        """
        if not self.rows:
            raise TypeError("it has no row")
        for row in self.rows:
            row.metrics[self.metric]
            for name, annotation in get_type_hints(Row).items():
                if not fits(annotation, getattr(row, name)):
                    raise TypeError(f"{name} of a row is {shown(getattr(row, name))}")
        for name in ("title", "metric", "greater_is_better", "setting", "measured"):
            if not fits(get_type_hints(Report)[name], getattr(self, name)):
                raise TypeError(f"{name} is {shown(getattr(self, name))}")


def _row(data: dict[str, Any]) -> Row:
    intervals = {metric: (low, high) for metric, (low, high) in data.get("intervals", {}).items()}
    return Row(**{**data, "intervals": intervals, "answers": tuple(data.get("answers", ()))})
