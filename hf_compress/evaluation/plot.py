"""Quality against size, one point per row."""

from pathlib import Path

from hf_compress.evaluation.rows import Report

_HIGHEST = 1e100
"""Where the perplexity of a ruined model is drawn: above it, the margins of a logarithmic axis overflow."""


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
    from matplotlib.ticker import FuncFormatter, NullFormatter

    sizes = [row.file_bytes / 1e6 for row in report.rows]
    values = [row.metrics[report.metric] for row in report.rows]
    shown = [min(value, _HIGHEST) for value in values]
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), dpi=130)
    for index, (row, size, value) in enumerate(zip(report.rows, sizes, shown, strict=True)):
        axes.scatter(size, value, s=90, color=f"C{index}", zorder=3, label=row.name)
        axes.annotate(f"{row.metrics[report.metric]:.4g}", (size, value), textcoords="offset points", xytext=(9, 5))
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / 1.6, max(sizes) * 1.6)
    axes.set_xticks(sorted(set(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:.3g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(y=0.2)
    arrow = "higher is better" if report.greater_is_better else "lower is better"
    axes.set_xlabel("weights on disk (MB)")
    axes.set_ylabel(f"test {report.metric.replace('_', ' ')} ({arrow})")
    axes.set_title(report.title)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)
