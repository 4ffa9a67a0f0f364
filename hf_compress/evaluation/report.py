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
    """

    name: str
    metrics: dict[str, float]
    file_bytes: int
    quantized_ratio: float | None = None
    sparsity: float | None = None
    train_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The rows and what they were measured on.

    Attributes:
        title: the run's name.
        metric: the one to compare by.
        greater_is_better: its direction.
        rows: dense first.
        setting: data, hardware, versions, date.
    """

    title: str
    metric: str
    greater_is_better: bool
    rows: tuple[Row, ...]
    setting: dict[str, Any]

    def to_plain(self, full: bool = True) -> dict[str, Any]:
        """The content of report.json."""
        data = {**asdict(self), "rows": [asdict(row) for row in self.rows]}
        return json.loads(json.dumps(data))  # tuples become lists, as a reader will see them

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> "Report":
        """Back from report.json."""
        return cls(**{**data, "rows": tuple(Row(**row) for row in data["rows"])})


def table(report: Report) -> str:
    """A markdown table, columns aligned for reading in a terminal too."""
    arrow = "higher is better" if report.greater_is_better else "lower is better"
    header = ["model", f"{report.metric} ({arrow})", "size on disk", "quantized layers vs bf16", "sparsity", "training"]
    cells = [
        [
            row.name,
            f"{row.metrics[report.metric]:.4g}" if row.metrics[report.metric] >= 1 else f"{row.metrics[report.metric]:.4f}",
            format_bytes(row.file_bytes),
            "-" if row.quantized_ratio is None else f"{row.quantized_ratio:.3f}x",
            "-" if row.sparsity is None else f"{row.sparsity:.4f}",
            "-" if row.train_s is None else f"{row.train_s:.0f} s",
        ]
        for row in report.rows
    ]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [header, *cells]]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def to_markdown(report: Report) -> str:
    """The content of report.md; refers to report.png beside it."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    return (
        f"# {report.title}\n\n{table(report)}\n\n![{report.metric} against size](report.png)\n\n"
        f"Every row was written to disk, loaded again with plain transformers and measured on the test split.\n"
        "Sparsity is the share of exact zeros in the pruned layers before rounding to the quantized grid; rounding adds"
        " more.\nThe last row goes on training from the first row's weights: where it is better than dense, the extra steps"
        " did\nthat, not the compression.\n"
        f"{RUNTIMES}\n\n## Setting\n\n{setting}\n"
    )


def write(report: Report, folder: Path) -> None:
    """report.json, report.md and report.png into `folder`."""
    from hf_compress.evaluation.plot import plot

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report.to_plain(), indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report), encoding="utf-8")
    plot(report, folder / "report.png")
