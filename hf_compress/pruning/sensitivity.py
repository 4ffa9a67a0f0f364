"""What a model loses by each of its layers alone, at several sparsities, and what follows for an allocation."""

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import matrix_size
from hf_compress._modules.names import block_of
from hf_compress._progress import progress as shown
from hf_compress.pruning.allocations.per_layer import PerLayer
from hf_compress.pruning.compute import apply_mask, compute_masks, zeros_of
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.share_out import share_out
from hf_compress.pruning.statistics import Stats

GroupedBy = Literal["module", "block", "name"]
Metrics = dict[str, float]
LOSSES = ("nll", "loss", "mse")
"""What an evaluation calls the mean loss, in nats but for the last, that of a regression."""
_DIGITS = 4
_MORE = 1e-6
"""Share of a group's weights by which it must be sparser than it was."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A group of layers that were pruned together, and nothing else with them.

    Attributes:
        name: of the group.
        sizes: its layers by name, with their weights.
        points: sparsity -> what was measured, rising.
        held: the share of each that is zero already, where any is; it is pruned no less than that.
    """

    name: str
    sizes: dict[str, int]
    points: dict[float, Metrics]
    held: dict[str, float] = field(default_factory=dict)

    @property
    def num_weights(self) -> int:
        """Of all its layers."""
        return sum(self.sizes.values())

    def reached(self, sparsity: float) -> float:
        """The share of all its weights that is zero where each of its layers is pruned to a sparsity."""
        return share_of_zeros(self.sizes, self.held, sparsity)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """All groups, each by itself.

    Attributes:
        loss: which of the metrics is the mean loss.
        dense: what was measured of the model as it is.
        curves: in the order of the model.
    """

    loss: str
    dense: Metrics
    curves: tuple[Curve, ...]

    def increases(self, curve: Curve) -> list[tuple[float, float]]:
        """Share of zeros and loss above the dense model's, up to the first that is no finite number; nothing of where no
        more weights go than are gone already.
        """
        found = []
        for sparsity, metrics in curve.points.items():
            if not math.isfinite(metrics[self.loss]):
                break
            if curve.reached(sparsity) > curve.reached(0.0) + _MORE:
                found.append((curve.reached(sparsity), metrics[self.loss] - self.dense[self.loss]))
        return found

    def allocation(self, sparsity: float) -> tuple[PerLayer, float]:
        """The sparsity of each layer for an overall one, see `share_out`; and by how much the loss should rise.

        Raises:
            CompressionError: layers were not pruned so far, or more of them is gone already.
        """
        curves = {curve.name: self.increases(curve) for curve in self.curves}
        sizes = {curve.name: curve.num_weights for curve in self.curves}
        held = {curve.name: curve.reached(0.0) for curve in self.curves}
        try:
            shares, predicted = share_out(curves, sizes, sparsity, held)
        except ValueError as error:
            raise CompressionError(f"sparsity: {error}; {self._way_out(sparsity)}") from error
        written: dict[str, float] = {}
        for curve in self.curves:
            asked = sparsity_for(curve.sizes, curve.held, shares[curve.name])
            written |= {name: round(max(asked, curve.held.get(name, 0.0)), _DIGITS) for name in curve.sizes}
        return PerLayer(sparsities=written), predicted

    def _way_out(self, sparsity: float) -> str:
        """What helps where zeros cannot be shared out."""
        sizes = {curve.name: curve.num_weights for curve in self.curves}
        if share_of_zeros(sizes, {curve.name: curve.reached(0.0) for curve in self.curves}, 0.0) > sparsity:
            return "ask for more"
        for curve in self.curves:
            if not all(math.isfinite(metrics[self.loss]) for metrics in curve.points.values()):
                return (
                    f"the {self.loss} of {curve.name} is no finite number further on; ignore it, or take another criterion"
                )
        return "add a higher one to sparsities"

    def to_plain(self) -> dict[str, Any]:
        """For a file; sparsities are text there, and what is no finite number is null."""
        plain = asdict(self)
        for curve in plain["curves"]:
            curve["points"] = {f"{sparsity:g}": in_json(metrics) for sparsity, metrics in curve["points"].items()}
        return {**plain, "dense": in_json(plain["dense"]), "curves": list(plain["curves"])}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Self:
        """Back from `to_plain`."""
        curves = [
            Curve(**{**curve, "points": {float(sparsity): _read(metrics) for sparsity, metrics in curve["points"].items()}})
            for curve in data["curves"]
        ]
        return cls(loss=data["loss"], dense=data["dense"], curves=tuple(curves))


def in_json(metrics: Metrics) -> dict[str, float | None]:
    """Metrics as JSON has them, which knows no NaN and no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _read(metrics: Mapping[str, float | None]) -> Metrics:
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def share_of_zeros(sizes: Mapping[str, int], held: Mapping[str, float], sparsity: float) -> float:
    """What part of all weights is zero where each layer is pruned to a sparsity, or to what it has where that is more.

    Args:
        sizes: weights by layer.
        held: the share of zeros that a layer has already; 0 where it is not named.
        sparsity: of each layer.
    """
    return sum(size * max(held.get(name, 0.0), sparsity) for name, size in sizes.items()) / max(sum(sizes.values()), 1)


def sparsity_for(sizes: Mapping[str, int], held: Mapping[str, float], share: float) -> float:
    """The way back: the sparsity of each layer for which `share` of all weights is zero; the arguments as there."""
    corners = sorted({0.0, 1.0, *held.values()})
    return float(numpy.interp(share, [share_of_zeros(sizes, held, corner) for corner in corners], corners))


def held_by(modules: Mapping[str, nn.Module]) -> dict[str, float]:
    """The share of each module's weights that is zero, where that is taken as pruned; see `zeros_of`."""
    return {name: float((~keep).float().mean()) for name, keep in zeros_of(modules).items()}


def groups_of(names: Iterable[str], by: GroupedBy) -> dict[str, list[str]]:
    """The layers that are pruned together.

    Args:
        names: of layers.
        by: "module": each by itself; "block": those whose names are alike up to the first number (model.layers.3);
            "name": those whose names differ in numbers alone (model.layers.*.mlp.up_proj).
    """
    found: dict[str, list[str]] = {}
    for name in names:
        group = {"module": name, "block": block_of(name), "name": re.sub(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)", "*", name)}[by]
        found.setdefault(group, []).append(name)
    return found


@torch.no_grad()
def measure_sensitivity(
    modules: Mapping[str, nn.Module],
    pruning: Pruning,
    measure: Callable[[], Metrics],
    sparsities: Sequence[float],
    *,
    by: GroupedBy = "module",
    dense: Metrics | None = None,
    stats: Stats | None = None,
    known: Mapping[str, Mapping[float, Metrics]] | None = None,
    keep: Callable[[str, float, Metrics], None] | None = None,
    progress: str = "",
) -> Sensitivity:
    """Prune one group of layers after the other, by criterion and pattern, and measure the model.

    Afterwards every weight is what it was, to the last bit.

    Args:
        modules: the layers by name, of the model that `measure` runs.
        pruning: whose criterion and pattern are used; every layer of a group gets the same sparsity.
        measure: the metrics of the model as it is then, among them nll or loss.
        sparsities: in (0, 1).
        by: see `groups_of`.
        dense: what `measure` gives of the model as it is, where that is known.
        stats: what the criterion needs, of the model as it is.
        known: group -> sparsity -> metrics that were measured before, and are not again.
        keep: told what was measured, at once.
        progress: what a progress bar of the main process says; none without.

    Raises:
        CompressionError: nothing that is measured is a loss, the model's own is no finite number, or see `compute_masks`.
    """
    dense = measure() if dense is None else dense
    loss = next((key for key in LOSSES if key in dense), None)
    if loss is None:
        raise CompressionError(f"layers are compared by the mean loss, and of {', '.join(dense)} none is one")
    if not math.isfinite(dense[loss]):
        raise CompressionError(f"the {loss} of the model as it is is {dense[loss]}; nothing compares with it")
    groups, known = groups_of(modules, by), known or {}
    curves = []
    with shown(None, progress, total=len(groups) * len(sparsities), leave=False) as bar:
        for name, members in groups.items():
            layers, points = {member: modules[member] for member in members}, dict[float, Metrics]()
            for sparsity in sorted(sparsities):
                if sparsity not in known.get(name, {}):
                    with weights_restored(layers):
                        _prune(layers, pruning, sparsity, stats)
                        points[sparsity] = measure()
                    if keep is not None:
                        keep(name, sparsity, points[sparsity])
                else:
                    points[sparsity] = dict(known[name][sparsity])
                bar.update()
            sizes = {member: matrix_size(module) for member, module in layers.items()}
            curves.append(Curve(name=name, sizes=sizes, points=points, held=held_by(layers)))
    return Sensitivity(loss=loss, dense=dense, curves=tuple(curves))


def _prune(layers: Mapping[str, nn.Module], pruning: Pruning, sparsity: float, stats: Stats | None) -> None:
    own = {name: (stats or {}).get(name, {}) for name in layers}
    shares = dict.fromkeys(layers, sparsity)
    for name, mask in compute_masks(layers, pruning, sparsity, own, held=zeros_of(layers), shares=shares).items():
        apply_mask(layers[name], mask)


@contextlib.contextmanager
def weights_restored(layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Behind the block the layers have the weights that they had before it, to the last bit."""
    before = {name: module.weight.detach().clone() for name, module in layers.items()}  # type: ignore[operator, union-attr]
    try:
        yield
    finally:
        for name, module in layers.items():
            module.weight.data.copy_(before[name])  # type: ignore[union-attr, operator]
