"""The report as data: one row per model."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


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
    """

    name: str
    metrics: dict[str, float]
    file_bytes: int
    quantized_ratio: float | None = None
    sparsity: float | None = None
    train_s: float | None = None
    quantized_share: float | None = None
    zeros_share: float | None = None


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
    """

    title: str
    metric: str
    greater_is_better: bool
    rows: tuple[Row, ...]
    setting: dict[str, Any]
    reach: tuple[str, ...] = ()
    also: dict[str, bool] = field(default_factory=dict)
    loading: str = ""

    def to_plain(self, full: bool = True) -> dict[str, Any]:
        """The content of report.json."""
        data = {**asdict(self), "rows": [asdict(row) for row in self.rows]}
        return json.loads(json.dumps(data))  # tuples become lists, as a reader will see them

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> "Report":
        """Back from report.json."""
        rows = tuple(Row(**row) for row in data["rows"])
        return cls(**{**data, "rows": rows, "reach": tuple(data.get("reach", ()))})
