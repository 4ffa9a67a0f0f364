"""The report of finished models as text: a line for every number."""

from collections.abc import Sequence

from hf_compress._units import format_bytes
from hf_compress.evaluation.evaluated import EvaluationReport


def table(report: EvaluationReport) -> str:
    """A markdown table with a line for each metric, aligned for reading in a terminal too; the one to compare by first."""
    keys = [report.metric, *[key for key in report.directions if key != report.metric]]
    lines = [["metric", "better", *[row.name for row in report.rows]]]
    for key in keys:
        better = "higher" if report.directions[key] else "lower"
        lines.append([key, better, *[number(row.metrics[key]) for row in report.rows]])
    lines.append(["size on disk", "lower", *[format_bytes(row.file_bytes) for row in report.rows]])
    return aligned(lines)


def number(value: float) -> str:
    """As tables of reports write it."""
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A markdown table whose first line is its header."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [cells[0], rule, *cells[1:]])


def to_markdown(report: EvaluationReport) -> str:
    """The content of report.md."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    return f"# {report.title}\n\n{table(report)}\n\n## Setting\n\n{setting}\n"
