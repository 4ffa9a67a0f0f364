"""What each layer costs at each sparsity, and the sparsity that it is given, as one picture."""

from collections.abc import Sequence
from pathlib import Path

from hf_compress.evaluation.plot import plain
from hf_compress.pruning.sensitivity import Sensitivity

_MOST = 60
"""Groups that are shown: of more, those that cost the most."""
_LONGEST = 36
"""Letters of a name."""
_LEAST = 1e-4
"""Below it colours do not differ."""


def plot_sensitivity(
    measured: Sensitivity, shares: Sequence[float] | None, sparsity: float, title: str, file: Path
) -> None:
    """Draw the picture.

    A field for every group and sparsity: the loss above the dense model's, in nats, as number and as colour. Beside it a
    bar for the sparsity that the group is given, and a line where all would have the same.

    Args:
        measured: the groups.
        shares: the sparsity of each group, in their order; None where none was looked for.
        sparsity: the overall one.
        title: of the picture.
        file: a .png to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import numpy
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    sparsities = list(measured.curves[0].points)
    costs = numpy.array([[curve.points[at][measured.loss] for at in sparsities] for curve in measured.curves])
    costs = numpy.where(numpy.isfinite(costs), costs - measured.dense[measured.loss], numpy.inf)
    places = sorted(numpy.argsort(-costs.max(axis=1), kind="stable")[:_MOST])
    shown = costs[places]
    known = shown[numpy.isfinite(shown)]
    highest = max(float(known.max()) if known.size else _LEAST, 10 * _LEAST)
    widths = (max(1.0 * len(sparsities), 2.5), *((2.2,) if shares is not None else ()))
    figure, axes = pyplot.subplots(
        1,
        len(widths),
        figsize=(3.0 + sum(widths), 1.4 + 0.24 * len(places)),
        dpi=130,
        width_ratios=widths,
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    field = axes[0, 0]
    colours = numpy.clip(numpy.where(numpy.isfinite(shown), shown, highest), _LEAST, highest)
    field.imshow(colours, aspect="auto", cmap="YlOrRd", norm=LogNorm(_LEAST, highest))
    dark = numpy.log(colours / _LEAST) > 0.7 * numpy.log(highest / _LEAST)
    for row, column in numpy.ndindex(shown.shape):
        text = f"{shown[row, column]:.2g}"
        field.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark[row, column] else "black")
    field.set_xticks(range(len(sparsities)), [f"{at:g}" for at in sparsities])
    field.set_yticks(range(len(places)), _labels([measured.curves[place].name for place in places]), fontsize=7)
    field.set_xlabel(f"sparsity of the group; {measured.loss} above the dense {measured.dense[measured.loss]:.4g}")
    if shares is not None:
        bars = axes[0, 1]
        bars.barh(range(len(places)), [shares[place] for place in places], color="C0", height=0.7)
        bars.axvline(sparsity, color="black", linewidth=1, linestyle=":")
        bars.set_xlim(0, 1)
        bars.set_xlabel(f"given, for {sparsity:g} overall")
    more = f" (the {len(places)} of {len(costs)} that cost the most)" if len(places) < len(costs) else ""
    figure.suptitle(plain(title + more), fontsize=10)
    figure.savefig(file)
    pyplot.close(figure)


def _labels(names: Sequence[str]) -> list[str]:
    """Long names without their middle, where that leaves them different."""
    cut = [name if len(name) <= _LONGEST else f"{name[:13]}...{name[16 - _LONGEST :]}" for name in names]
    return [plain(name) for name in (cut if len(set(cut)) == len(set(names)) else names)]
