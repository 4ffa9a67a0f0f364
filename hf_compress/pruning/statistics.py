"""The statistics that a criterion reads: asked for once, and handed over layer by layer."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_matrix, own_matrix
from hf_compress.calibration.collect import collect
from hf_compress.calibration.statistic import Statistic
from hf_compress.pruning.criterion import Criterion

Stats = Mapping[str, Mapping[str, Tensor]]
"""Statistics by layer name, then by statistic name, aligned with the layer's (O, I) weight matrix."""
Batches = Iterable[Mapping[str, Any]]
Collected = Mapping[str, Mapping[str, Tensor]]
"""Statistics by their name, then by parameter name, as `collect` returns them."""


def lacking(criterion: Criterion, way_out: str) -> str:
    """The sentence for a criterion that must see data and is given none.

    Args:
        criterion: with needs.
        way_out: how to give it some, where this is said.
    """
    return (
        f"criterion {criterion.name!r} needs {', '.join(criterion.needs)}, measured on examples; {way_out}, or use"
        " criterion 'magnitude', which needs none"
    )


def statistics_for(
    model: nn.Module, modules: Mapping[str, nn.Module], criterion: Criterion, calibration: Batches | Collected | None
) -> Stats:
    """What a criterion needs of some layers; empty where it needs nothing.

    Args:
        model: runs over the batches.
        modules: the layers by name.
        criterion: says what it needs.
        calibration: batches, or statistics that are collected already.

    Raises:
        CompressionError: there is no calibration, it has not what is needed, or see `collect`.
    """
    if not criterion.needs:
        return {}
    if calibration is None:
        raise CompressionError(
            f"pruning.criterion: {lacking(criterion, 'give prune() batches as calibration, a list of mappings of tensors')}"
        )
    if isinstance(calibration, Mapping):
        for need in criterion.needs:
            if not isinstance(calibration.get(need), Mapping):
                raise CompressionError(
                    f"calibration has no {need}, which criterion {criterion.name!r} needs; give batches (one batch as"
                    f" [batch]), or what collect(model, batches, {list(criterion.needs)}) returns"
                )
        return by_layer(calibration, modules)
    return by_layer(collect(model, calibration, criterion.needs, modules=modules), modules)


def by_layer(collected: Collected, modules: Mapping[str, nn.Module]) -> Stats:
    """Collected statistics as a criterion takes them: (I,), (I, I) or (O, I), per layer; layers without any have none."""
    known = Statistic.available()
    found: dict[str, dict[str, Tensor]] = {name: {} for name in modules}
    for statistic, values in collected.items():
        for name, module in modules.items():
            value = values.get(f"{name}.weight")
            if value is not None:
                value = as_matrix(module, value) if known[statistic].shape == "(O, I)" else value
                found[name][statistic] = value.to(own_matrix(module).device)
    return found
