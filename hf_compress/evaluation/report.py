"""The report: one row per model, as data, as a table and as a picture."""

from collections.abc import Mapping, Sequence

from hf_compress._runtimes import worth
from hf_compress._units import format_bytes
from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.verdict import judge

INTERVALS = "[low, high]: 95 % of 1,000 resamples of the measured rows lie there; of other data it says nothing."


def table(report: Report) -> str:
    """A markdown table, columns aligned for reading in a terminal too."""
    return markdown_table(columns(report))


def columns(report: Report) -> dict[str, list[str]]:
    """The table: title -> a cell for every row."""
    compared = {report.metric: report.greater_is_better, **report.also}
    found: dict[str, list[str]] = {
        "model": [row.name for row in report.rows],
        **{
            f"{metric} ({'higher' if greater else 'lower'} is better)": [
                _number(row.metrics[metric]) + _interval(row, metric) for row in report.rows
            ]
            for metric, greater in compared.items()
        },
        "size on disk": [format_bytes(row.file_bytes) for row in report.rows],
    }
    if isinstance(report, EnsembleReport):
        return {**found, **_of_members(report)}
    found |= {
        "quantized layers vs bf16": _cells(report, "quantized_ratio", "{:.3f}x"),
        "sparsity": _cells(report, "sparsity", "{:.4f}"),
        "training": _cells(report, "train_s", "{:.0f} s"),
    }
    later = (
        ("quantized_share", "quantized, of all weights", "{:.1%}"),
        ("zeros_share", "zeros, of all weights", "{:.1%}"),
        ("latency_ms", "latency", "{:.3g} ms"),
    )
    for name, title, form in later:
        if any(getattr(row, name) is not None for row in report.rows):  # not every report has them
            found[title] = _cells(report, name, form)
    return found


def _of_members(report: EnsembleReport) -> dict[str, list[str]]:
    """What only the rows of an ensemble have."""
    names = [row.name for row in report.rows]
    found = {"parameters": [f"{report.parameters[name]:,}" for name in names]}
    for title, known, form in (
        (f"{report.metric} on validation", report.validation, "{:.4g}"),
        ("MACs of a row", report.macs, "{:.4g}"),
        (f"cost of a row ({report.cost_unit})", {} if report.cost_unit == "MACs" else report.costs, "{:.4g}"),
        *(
            (f"ms of a row, batch {size}", {name: known[size] for name, known in report.latency.items()}, "{:.3g}")
            for size in next(iter(report.latency.values()), {})
        ),
        ("weight", report.weights, "{:.4f}"),
        ("temperature", report.temperatures, "{:.3f}"),
    ):
        if known:
            found[title] = [form.format(known[name]) if name in known else "-" for name in names]
    return found


def markdown_table(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns of text as a markdown table; a bar in a cell stays one."""
    header = [cell(title) for title in columns]
    cells = [[cell(text) for text in line] for line in zip(*columns.values(), strict=True)]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    lines = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in [header, *cells]]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def cell(text: str) -> str:
    """A text in a markdown table: one line, and a bar ends nothing."""
    return text.replace("|", "\\|").replace("\n", " ")


def findings(report: Report) -> str:
    """The table and the verdict, for cards."""
    intervals = [INTERVALS] if any(row.intervals for row in report.rows) else []
    said = " ".join([*intervals, *report.notes])
    return "\n\n".join(filter(None, (table(report), said, verdict_line(report))))


def verdict_line(report: Report) -> str:
    """The verdict with its thresholds, as markdown."""
    kind, _, reason = str(judge(report)).partition(": ")
    return f"**Verdict: {kind}**: {reason}."


def _number(value: float) -> str:
    return f"{value:.4g}" if value >= 1 else f"{value:.4f}"


def _interval(row: Row, metric: str) -> str:
    """A confidence interval behind its value, where there is one."""
    known = row.intervals.get(metric)
    return "" if known is None else f" [{_number(known[0])}, {_number(known[1])}]"


def _cells(report: Report, name: str, form: str) -> list[str]:
    """A column; a dash where a row has no such value."""
    values = [getattr(row, name) for row in report.rows]
    return ["-" if value is None else form.format(value) for value in values]


def worth_of(report: Report) -> str:
    """What the last row's size says of memory and speed."""
    last = report.rows[-1]
    return worth(packed=last.quantized_ratio is not None, zeros=last.sparsity is not None)


def to_markdown(report: Report) -> str:
    """The content of report.md; refers to report.png beside it."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    reach = "".join(f"The last row: {sentence}.\n" for sentence in report.reach)
    trained = (
        "The last row goes on training from the first row's weights: where it is better than dense, the extra steps did\n"
        "that, not the compression.\n"
    )
    if report.rows[-1].train_s is None and not report.history:
        trained = "Nothing was trained.\n"
    loading = f"To load the last row: {report.loading}.\n" if report.loading else ""
    sparsity = (
        "Sparsity is the share of exact zeros in the pruned layers before rounding to the quantized grid; rounding adds"
        " more.\n"
    )
    if all(row.sparsity is None for row in report.rows):
        sparsity = ""
    return (
        f"# {report.title}\n\n{findings(report)}\n\n![{report.metric} against size](report.png)\n\n"
        f"{reach}Every row was written to disk, loaded again with plain transformers and measured on the test split.\n"
        f"{sparsity}{trained}"
        f"{worth_of(report)}\n{loading}\n## Setting\n\n{setting}\n"
    )
