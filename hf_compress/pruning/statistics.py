"""The statistics that a criterion or an allocation reads: asked for once, and handed over layer by layer."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_matrix, own_matrix
from hf_compress.calibration.collect import collect
from hf_compress.calibration.statistic import Statistic
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import Criterion

Stats = Mapping[str, Mapping[str, Tensor]]
"""Statistics by layer name, then by statistic name, aligned with the layer's (O, I) weight matrix."""
Batches = Iterable[Mapping[str, Any]]
Collected = Mapping[str, Mapping[str, Tensor]]
"""Statistics by their name, then by parameter name, as `collect` returns them."""


def lacking(pruning: Pruning, way_out: str) -> str:
    """The sentence for a criterion or an allocation that must see data and is given none.

    Args:
        pruning: with needs.
        way_out: how to give it some, where this is said.
    """
    part, other = needy_part(pruning)
    return (
        f"{part.kind} {part.name!r} needs {', '.join(part.needs)}, measured on examples; {way_out}, or use"
        f" {part.kind} {other!r}, which needs none"
    )


def needy_part(pruning: Pruning) -> tuple[Criterion | Allocation, str]:
    """What needs statistics, the criterion first, and the name of one of its kind that needs none."""
    return (pruning.criterion, "magnitude") if pruning.criterion.needs else (pruning.allocation, "uniform")


def require_calibration(pruning: Pruning, calibration: object) -> None:
    """Refuse a recipe whose criterion or allocation sees data and that says nothing of which.

    Raises:
        CompressionError: naming the section to add.
    """
    if pruning.needs and calibration is None:
        part = needy_part(pruning)[0].kind
        raise CompressionError(f"pruning.{part}: {lacking(pruning, 'add the section `calibration: {}` to collect them')}")


def refuse_accumulated(criterion: Criterion) -> None:
    """Refuse a criterion that scores by what a training accumulates, where nothing is trained.

    Raises:
        CompressionError: it is one.
    """
    if criterion.accumulates:
        raise CompressionError(
            f"pruning.criterion: criterion {criterion.name!r} scores by what gradients add up to over the steps of a"
            " training, and prune() trains nothing; prune in a CompressionTrainer, or by another criterion"
        )


def statistics_for(
    model: nn.Module, modules: Mapping[str, nn.Module], pruning: Pruning, calibration: Batches | Collected | None
) -> Stats:
    """What a pruning job needs of some layers; empty where it needs nothing.

    Args:
        model: runs over the batches.
        modules: the layers by name.
        pruning: says what its criterion and its allocation need.
        calibration: batches, or statistics that are collected already.

    Raises:
        CompressionError: there is no calibration, it has not what is needed, or see `collect`.
    """
    if not pruning.needs:
        return {}
    part, _ = needy_part(pruning)
    if calibration is None:
        raise CompressionError(
            f"pruning.{part.kind}: {lacking(pruning, 'give prune() batches as calibration, a list of mappings of tensors')}"
        )
    if isinstance(calibration, Mapping):
        for need in pruning.needs:
            if not isinstance(calibration.get(need), Mapping):
                raise CompressionError(
                    f"calibration has no {need}, which {part.kind} {part.name!r} needs; give batches (one batch as"
                    f" [batch]), or what collect(model, batches, {list(pruning.needs)}) returns"
                )
        return by_layer(calibration, modules)
    return by_layer(collect(model, calibration, pruning.needs, modules=modules), modules)


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
