"""The report of finished models as text: a line for every number."""

from collections.abc import Sequence

from hf_compress._units import format_bytes
from hf_compress.evaluation.cost.report import CostReport, cost_tables
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.report import cell
from hf_compress.evaluation.verdict import judge


def table(report: EvaluationReport) -> str:
    """`metric_lines` as markdown, aligned for reading in a terminal too."""
    return aligned(metric_lines(report))


def metric_lines(report: EvaluationReport) -> list[list[str]]:
    """A line for each metric behind a header; the one to compare by first, sizes last."""
    header = ["metric", "better", *[row.name for row in report.rows]]
    keys = [report.metric, *[key for key in report.directions if key != report.metric]]
    lines = [_metric_line(report, key) for key in keys]
    sizes = ["size on disk", "lower", *[format_bytes(row.file_bytes) for row in report.rows]]
    if len(report.rows) > 1:
        corrected = _corrected(report)
        header += ["difference", "rows better / worse", "p", *(["p (Holm)"] if corrected else [])]
        lines = [[*line, *_compared(report, key, corrected)] for key, line in zip(keys, lines, strict=True)]
        sizes += ["-"] * (len(header) - len(sizes))
    return [header, *lines, sizes]


def _metric_line(report: EvaluationReport, key: str) -> list[str]:
    known = report.uncertainty.get(key)
    intervals = [None] * len(report.rows) if known is None else known.intervals
    cells = [_with(row.metrics[key], interval) for row, interval in zip(report.rows, intervals, strict=True)]
    return [key, "higher" if report.directions[key] else "lower", *cells]


def _compared(report: EvaluationReport, key: str, corrected: bool) -> list[str]:
    """The difference of two models, and the sign test of their rows."""
    known = report.uncertainty.get(key)
    between = None if known is None else known.difference_interval
    cells = [_with(report.rows[1].metrics[key] - report.rows[0].metrics[key], between, "+")]
    test = None if known is None else known.sign_test
    if test is None:
        return [*cells, "-", "-", *(["-"] if corrected else [])]
    cells += [f"{test.better} / {test.worse}", f"{test.p_value:.2g}"]
    return [*cells, *([f"{test.holm_p_value:.2g}" if test.holm_p_value is not None else "-"] if corrected else [])]


def _corrected(report: EvaluationReport) -> bool:
    tests = [one.sign_test for one in report.uncertainty.values()]
    return any(test is not None and test.holm_p_value is not None for test in tests)


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
            f"{paired} (seed {drawn['seed']}). Each holds by itself: of many, {1 - drawn['level']:.0%} do not."
        )
    if any(one.sign_test is not None for one in report.uncertainty.values()):
        said.append("p: the exact two-sided sign test over the rows on which the two models differ.")
    if _corrected(report):
        said.append("p (Holm): the same, corrected for all tests of this report.")
    return [*said, *report.notes]


def to_markdown(report: EvaluationReport) -> str:
    """The content of report.md."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    said = "".join(f"\n{sentence}" for sentence in [*sentences(report), *verdict_lines(report)])
    costs = f"\n\n## Cost\n\n{cost_part(report)}" if report.cost is not None else ""
    picture = f"![{report.metric} against size](report.png)"
    return f"# {report.title}\n\n{table(report)}\n{said}\n\n{picture}{costs}\n\n## Setting\n\n{setting}\n"


def verdict_lines(report: EvaluationReport) -> list[str]:
    """The verdict on the model beside its baseline; nothing without one."""
    return [f"Verdict: {judge(report)}."] if len(report.rows) > 1 else []


def cost_part(report: EvaluationReport) -> str:
    """Tables of what the models cost, and where it was measured; empty where it was not."""
    if report.cost is None:
        return ""
    found = CostReport.from_plain(report.cost)
    setting = "\n".join(f"- {key}: {value}" for key, value in found.setting.items())
    return f"{cost_tables(found)}\n\n{setting}"
