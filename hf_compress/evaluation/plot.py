"""Quality against size, one point per row."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.rows import Report, Row

_HIGHEST = 1e100
"""Where the perplexity of a ruined model is drawn: above it, the margins of a logarithmic axis overflow."""
_BESIDE = [((9, 5), "left"), ((-9, 5), "right"), ((9, -14), "left"), ((-9, -14), "right")]
"""Where a value is written, in points from its own point, as long as others are near."""
Against = Literal["size", "latency", "cost"]
_UNITS = {"size": "weights on disk (MB)", "latency": "latency of one forward pass (ms)", "cost": "cost of a row"}


def plot(report: Report, file: Path) -> None:
    """Draw the picture of a report.

    The size axis is logarithmic; so is the quality axis when the worst row is more than ten times the best.

    Args:
        report: the rows.
        file: a .png to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), dpi=130)
    draw_quality(axes, report, "cost" if isinstance(report, EnsembleReport) and report.costs else "size")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    figure.tight_layout()
    figure.set_layout_engine(None)  # with one, saving draws twice
    figure.savefig(file)
    pyplot.close(figure)


def draw_quality(axes: Any, report: Report, against: Against = "size") -> None:
    """A point for every row, and for a cascade against its cost the line of its thresholds.

    Args:
        axes: of matplotlib.
        report: the rows; a line through a point is the interval of its value. Values that would stand over each other are
            written around the points, four of them at most.
        against: what quality costs.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    rows = [row for row in report.rows if _cost(report, row, against) is not None]
    costs = [float(_cost(report, row, against) or 0) for row in rows]
    values = [row.metrics[report.metric] for row in rows]
    shown = [min(value, _HIGHEST) for value in values]
    ends = [end for row in rows for end in row.intervals.get(report.metric, ())]
    height = max([*shown, *ends]) - min([*shown, *ends])
    said: list[tuple[float, float]] = []
    for index, (row, cost, value) in enumerate(zip(rows, costs, shown, strict=True)):
        if report.metric in row.intervals:
            axes.plot(
                [cost, cost], [min(end, _HIGHEST) for end in row.intervals[report.metric]], color=f"C{index}", alpha=0.5
            )
        axes.scatter(cost, value, s=90, color=f"C{index}", zorder=3, label=plain(row.name))
    for row, cost, value in sorted(zip(rows, costs, shown, strict=True), key=lambda one: -one[1]):
        near = sum(abs(math.log(cost / at)) < 0.2 and abs(value - of) < 0.06 * height for at, of in said)
        if near < len(_BESIDE):
            words, (place, side) = f"{row.metrics[report.metric]:.4g}", _BESIDE[near]
            axes.annotate(words, (cost, value), textcoords="offset points", xytext=place, ha=side)
            said.append((cost, value))
    reached = [*costs, *_draw_curve(axes, report, against)]
    axes.set_xscale("log")
    axes.set_xlim(min(reached) / 1.6, max(reached) * 1.6)
    axes.set_xticks(_apart(costs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:.3g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(y=0.2)
    arrow = "higher is better" if report.greater_is_better else "lower is better"
    unit = f" ({report.cost_unit})" if against == "cost" and isinstance(report, EnsembleReport) else ""
    axes.set_xlabel(plain(_UNITS[against] + unit))
    axes.set_ylabel(plain(f"test {report.metric.replace('_', ' ')} ({arrow})"))
    axes.set_title(plain(report.title))


def _cost(report: Report, row: Row, against: Against) -> float | None:
    """What a row costs; None where nobody knows, and it is not drawn."""
    if against == "size":
        return row.file_bytes / 1e6
    if against == "latency":
        return float(row.latency_ms or 0)
    return report.costs.get(row.name) if isinstance(report, EnsembleReport) else None


def _draw_curve(axes: Any, report: Report, against: Against) -> list[float]:
    """What other thresholds of a cascade do on the same rows, and a ring around those that were taken; its costs."""
    if against != "cost" or not isinstance(report, EnsembleReport) or not report.curve:
        return []
    costs = [cost for cost, _ in report.curve]
    axes.plot(costs, [value for _, value in report.curve], color="C7", linewidth=1, zorder=1, label="other thresholds")
    taken = (report.costs[report.ours], report.rows[-1].metrics[report.metric])
    axes.scatter(*taken, s=220, facecolors="none", edgecolors="C7", zorder=2, label="thresholds taken")
    return costs


def plain(text: str) -> str:
    """A text that matplotlib shows as it is: a dollar begins no formula."""
    return text.replace("$", r"\$")


def _apart(costs: Sequence[float]) -> list[float]:
    """The costs, without those whose numbers would stand on one another's."""
    kept: list[float] = []
    for cost in sorted(set(costs)):
        if not kept or cost > 1.12 * kept[-1]:
            kept.append(cost)
    return kept
