"""The report of finished models as text: a line for every number."""

from collections.abc import Sequence

from hf_compress._units import format_bytes
from hf_compress.evaluation.cost.report import CostReport, cost_tables
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.report import cell
from hf_compress.evaluation.verdict import judge


def table(report: EvaluationReport) -> str:
    """A markdown table with a line for each metric, aligned for reading in a terminal too; the one to compare by first."""
    compared = len(report.rows) > 1
    lines = [["metric", "better", *[row.name for row in report.rows]]]
    if compared:
        lines[0] += ["difference", "rows better / worse", "p"]
    for key in [report.metric, *[key for key in report.directions if key != report.metric]]:
        known = report.uncertainty.get(key)
        intervals = [None] * len(report.rows) if known is None else known.intervals
        cells = [_with(row.metrics[key], interval) for row, interval in zip(report.rows, intervals, strict=True)]
        if compared:
            between = None if known is None else known.difference_interval
            cells.append(_with(report.rows[1].metrics[key] - report.rows[0].metrics[key], between, "+"))
            test = None if known is None else known.sign_test
            cells += ["-", "-"] if test is None else [f"{test.better} / {test.worse}", f"{test.p_value:.2g}"]
        lines.append([key, "higher" if report.directions[key] else "lower", *cells])
    sizes = [format_bytes(row.file_bytes) for row in report.rows]
    lines.append(["size on disk", "lower", *sizes, *(["-", "-", "-"] if compared else [])])
    return aligned(lines)


def _with(value: float, interval: tuple[float, float] | None, sign: str = "") -> str:
    text = number(value, sign)
    return text if interval is None else f"{text} [{number(interval[0], sign)}, {number(interval[1], sign)}]"


def number(value: float, sign: str = "") -> str:
    """As tables of reports write it; a small one is not 0."""
    if 0 < abs(value) < 0.001:
        return f"{value:{sign}.2e}"
    return f"{value:{sign}.4g}" if abs(value) >= 1 else f"{value:{sign}.4f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A markdown table whose first line is its header."""
    lines = [[cell(text) for text in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    cells = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [cells[0], rule, *cells[1:]])


def sentences(report: EvaluationReport) -> list[str]:
    """What the table does not say: how close two models are, how intervals were drawn, what has none."""
    said = []
    for key, words in (
        ("agreement", "decisions are the baseline's"),
        ("kl_divergence", "nats is KL(baseline || model), the mean over rows of logits"),
    ):
        if key in report.closeness:
            known = report.uncertainty.get(key)
            interval = None if known is None else known.intervals[0]
            said.append(
                f"{_with(report.closeness[key], interval)} of all {words}."
                if key == "agreement"
                else f"{_with(report.closeness[key], interval)} {words}."
            )
    if report.uncertainty:
        drawn, units = report.bootstrap, {one.unit: one.rows for one in report.uncertainty.values()}
        rows = ", ".join(f"{number:,} {unit}" for unit, number in units.items())
        paired = ", the same for both models" if len(report.rows) > 1 else ""
        said.append(
            f"In brackets: {drawn['level']:.0%} intervals, the percentiles of {drawn['resamples']:,} resamples of {rows}"
            f"{paired} (seed {drawn['seed']})."
        )
    if any(one.sign_test is not None for one in report.uncertainty.values()):
        said.append("p: the exact two-sided sign test over the rows on which the two models differ.")
    return [*said, *report.notes, *([f"Verdict: {judge(report)}."] if len(report.rows) > 1 else [])]


def to_markdown(report: EvaluationReport) -> str:
    """The content of report.md."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    said = "".join(f"\n{sentence}" for sentence in sentences(report))
    costs = f"\n\n## Cost\n\n{cost_part(report)}" if report.cost is not None else ""
    return f"# {report.title}\n\n{table(report)}\n{said}{costs}\n\n## Setting\n\n{setting}\n"


def cost_part(report: EvaluationReport) -> str:
    """Tables of what the models cost, and where it was measured; empty where it was not."""
    if report.cost is None:
        return ""
    found = CostReport.from_plain(report.cost)
    setting = "\n".join(f"- {key}: {value}" for key, value in found.setting.items())
    return f"{cost_tables(found)}\n\n{setting}"
