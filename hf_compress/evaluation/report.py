"""The report: one row per model, as data, as a table and as a picture."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_compress._runtimes import RUNTIMES
from hf_compress._units import format_bytes


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
        loading: what the result asks of those who load it; empty for nothing.
    """

    title: str
    metric: str
    greater_is_better: bool
    rows: tuple[Row, ...]
    setting: dict[str, Any]
    reach: tuple[str, ...] = ()
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


def table(report: Report) -> str:
    """A markdown table, columns aligned for reading in a terminal too."""
    arrow = "higher is better" if report.greater_is_better else "lower is better"
    columns: dict[str, list[str]] = {
        "model": [row.name for row in report.rows],
        f"{report.metric} ({arrow})": [
            f"{value:.4g}" if value >= 1 else f"{value:.4f}"
            for value in (row.metrics[report.metric] for row in report.rows)
        ],
        "size on disk": [format_bytes(row.file_bytes) for row in report.rows],
        "quantized layers vs bf16": _cells(report, "quantized_ratio", "{:.3f}x"),
        "sparsity": _cells(report, "sparsity", "{:.4f}"),
        "training": _cells(report, "train_s", "{:.0f} s"),
    }
    for name, title in (("quantized_share", "quantized, of all weights"), ("zeros_share", "zeros, of all weights")):
        if any(getattr(row, name) is not None for row in report.rows):  # reports of older versions do not have them
            columns[title] = _cells(report, name, "{:.1%}")
    header, cells = [*columns], [list(line) for line in zip(*columns.values(), strict=True)]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [header, *cells]]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def _cells(report: Report, name: str, form: str) -> list[str]:
    """A column; a dash where a row has no such value."""
    values = [getattr(row, name) for row in report.rows]
    return ["-" if value is None else form.format(value) for value in values]


def to_markdown(report: Report) -> str:
    """The content of report.md; refers to report.png beside it."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    reach = "".join(f"The last row: {sentence}.\n" for sentence in report.reach)
    loading = f"To load the last row: {report.loading}.\n" if report.loading else ""
    return (
        f"# {report.title}\n\n{table(report)}\n\n![{report.metric} against size](report.png)\n\n"
        f"{reach}Every row was written to disk, loaded again with plain transformers and measured on the test split.\n"
        "Sparsity is the share of exact zeros in the pruned layers before rounding to the quantized grid; rounding adds"
        " more.\nThe last row goes on training from the first row's weights: where it is better than dense, the extra steps"
        " did\nthat, not the compression.\n"
        f"{RUNTIMES}\n{loading}\n## Setting\n\n{setting}\n"
    )


def write(report: Report, folder: Path) -> None:
    """report.json, report.md and report.png into `folder`."""
    from hf_compress.evaluation.plot import plot

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report.to_plain(), indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report), encoding="utf-8")
    plot(report, folder / "report.png")
