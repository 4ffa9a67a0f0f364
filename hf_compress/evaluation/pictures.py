"""The pictures of report.html: SVG that stands in the page and takes the page's colour of text."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.plot import Against, draw_quality
from hf_compress.evaluation.rows import Report

_INK = "#010203"
"""Drawn in this colour and written as `currentColor`: black on a light page, white on a dark one."""
_COLORS = ("#2f7ed8", "#d9822b", "#2e9e5b", "#b65fcf", "#c94f4f", "#7a8793")
"""Told apart on light and dark."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hf_compress",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_LOST = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_WORDS = {"eval_loss": "loss, validation", "loss": "loss, training", "learning_rate": "learning rate"}
_LARGEST_LAYERS = 40


def pictures(report: Report) -> dict[str, str]:
    """Title -> SVG, of all that the report has numbers for."""
    known: dict[str, tuple[bool, Callable[[Any], None], float]] = {
        "Quality against size": (True, lambda figure: _quality(figure, report, "size"), 3.4),
        "Quality against cost": (
            isinstance(report, EnsembleReport) and bool(report.costs),
            lambda figure: _quality(figure, report, "cost"),
            3.4,
        ),
        "Quality against latency": (
            all(row.latency_ms is not None for row in report.rows),
            lambda figure: _quality(figure, report, "latency"),
            3.4,
        ),
        "Training": (len(report.history) > 1, lambda figure: _curves(figure, report), 5.2),
        "Layers": (bool(report.layers), lambda figure: _layers(figure, report), _height(report)),
    }
    return {
        title: _svg(draw, height, f"p{place}")
        for place, (title, (there, draw, height)) in enumerate(known.items())
        if there
    }


def _svg(draw: Callable[[Any], None], height: float, prefix: str) -> str:
    """A picture without what a page of its own would need, and with names that no other picture on the page has."""
    import matplotlib
    from cycler import cycler
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=_COLORS)}):
        figure = Figure(figsize=(4.4, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
            axes.grid(alpha=0.25, color=_INK)
            axes.set_axisbelow(True)
        layout = figure.get_layout_engine()
        assert layout is not None
        layout.execute(figure)
        figure.set_layout_engine(None)  # with one, saving draws twice
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = _LOST.sub("", stream.getvalue()).strip()
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text.replace("xlink:href", "href"))
    return text.replace(_INK, "currentColor")


def _quality(figure: Any, report: Report, against: Against) -> None:
    axes = figure.subplots()
    draw_quality(axes, report, against)
    axes.set_title("")
    legend = axes.legend(loc="best", fontsize=8, framealpha=0)
    for text in legend.get_texts():
        text.set_color(_INK)


def _curves(figure: Any, report: Report) -> None:
    """Losses above, what the schedules do at the same steps below."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for place, key in enumerate(("loss", "eval_loss")):
        steps, values = _series(report.history, key)
        if steps:
            above.plot(steps, values, color=_COLORS[place], marker="." if len(steps) < 60 else "", label=_WORDS[key])
    above.set_ylabel("loss")
    steps, values = _series(report.history, "sparsity")
    if steps:
        below.plot(steps, values, color=_COLORS[2], label="sparsity", drawstyle="steps-post")
    steps, values = _series(report.history, "learning_rate")
    if steps and max(values) > 0:
        below.plot(
            steps, [value / max(values) for value in values], color=_COLORS[3], label=f"learning rate / {max(values):.3g}"
        )
    for step in report.marks.values():
        for axes in (above, below):
            axes.axvline(step, color=_INK, alpha=0.5, linestyle=":", linewidth=1)
    for words, step in report.marks.items():
        above.annotate(words, (step, 1.0), xycoords=("data", "axes fraction"), fontsize=8, ha="center", va="bottom")
    below.set_ylim(-0.05, 1.05)
    below.set_xlabel("optimizer step")
    for axes in (above, below):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=8, framealpha=0)


def _series(history: Sequence[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    found = [(entry["step"], entry[key]) for entry in history if key in entry]
    return [step for step, _ in found], [value for _, value in found]


def _height(report: Report) -> float:
    return 1.2 + 0.2 * min(len(report.layers), _LARGEST_LAYERS)


def _layers(figure: Any, report: Report) -> None:
    """Bars of bits a weight and of sparsity, in the order of the model; of many layers the largest."""
    largest = sorted(report.layers, key=lambda layer: -layer.num_weights)[:_LARGEST_LAYERS]
    layers = [layer for layer in report.layers if layer in largest]
    bits, zeros = figure.subplots(1, 2, sharey=True)
    places = list(range(len(layers)))
    bits.barh(places, [layer.bits for layer in layers], color=_COLORS[0], height=0.7)
    bits.set_yticks(places, [_short(layer.name) for layer in layers], fontsize=7)
    bits.invert_yaxis()
    bits.set_xlabel("bits a weight")
    zeros.barh(places, [layer.sparsity or 0.0 for layer in layers], color=_COLORS[2], height=0.7)
    zeros.set_xlim(0, 1)
    zeros.set_xlabel("sparsity")


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"...{name[-25:]}"
