"""Whether a pruning job fits the modules it was given, known before anything is pruned."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.adapters import changed_modules
from hf_compress._modules.matching import Selection, select_modules
from hf_compress._modules.matrix import layer_shape, matrix_shape, num_channels
from hf_compress._modules.module_kind import takes_ids
from hf_compress._modules.packed import ExpertMatrix, expert_matrices, unpacked
from hf_compress._modules.routers import routers
from hf_compress.calibration.input_rows import check_rows
from hf_compress.calibration.statistic import Statistic, statistics_of
from hf_compress.pruning.allocations.uniform import Uniform
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import ACCUMULATED
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.statistics import Stats, needy_part, refuse_accumulated


def chosen(model: nn.Module, pruning: Pruning) -> Selection:
    """The modules that a job prunes: in place of packed experts their matrices; routers that only their class names are
    left out.

    Raises:
        CompressionError: see `select_modules` and `unpacked`; or an adapter has factors on packed experts.
    """
    selection = select_modules(model, pruning.targets, pruning.ignore, "pruning")
    selection = selection.without(routers(model, selection.modules, pruning.targets), pruning.targets, "pruning")
    for name in changed_modules(model):
        if expert_matrices(name, selection.modules.get(name, model)):
            raise CompressionError(
                f"pruning: an adapter changes the packed experts {name} themselves (target_parameters), and a merge would"
                f" fill their zeros; merge it first (model = model.merge_and_unload()), or add '{name}' to pruning.ignore"
            )
    return dataclasses.replace(selection, modules=unpacked(selection.modules, pruning.ignore, "pruning"))


def check_fit(modules: Mapping[str, nn.Module], pruning: Pruning) -> None:
    """Refuse what the first mask, or the last, would stumble over.

    Args:
        modules: the matched modules by name.
        pruning: what is asked for.

    Raises:
        CompressionError: a module has no weight matrix, or one that the criterion's statistics are not for, the pattern
            does not fit into a layer, or every layer is so small that the sparsity rounds to nothing.
    """
    needy = pruning.criterion.name if pruning.criterion.needs else pruning.allocation.name
    check_embeddings(modules, needy, pruning.needs)
    if pruning.needs:
        refuse_experts(modules, f"{needy} needs {pruning.needs[0]} of each layer; prune them by what needs none")
    if any(not one.needs_gradient for one in statistics_of(pruning.needs)):
        check_rows(modules)
    pattern, final = pruning.pattern, pruning.schedule.final
    shapes = {name: layer_shape(module) for name, module in modules.items()}
    for name, module in modules.items():
        if pattern.along_inputs and takes_ids(module):
            raise CompressionError(
                f"pruning.pattern: {name}: {pattern.name} groups neighbouring inputs, and those of an embedding are ids;"
                f" add '{name}' to pruning.ignore, or use the pattern unstructured"
            )
        width = num_channels(module) if pattern.along_inputs else matrix_shape(module)[1]
        try:
            pattern.check_layer(math.prod(shapes[name]) // width, width)
        except CompressionError as error:
            raise CompressionError(f"pruning.pattern: {name}: {error}") from error
    pruning.allocation.check_layers(shapes, final)
    if pruning.target is not None:
        _check_rounding({name: matrix_shape(module) for name, module in modules.items()}, pruning)


def check_embeddings(modules: Mapping[str, nn.Module], what: str, needs: Sequence[str]) -> None:
    """Refuse embeddings where something is measured on what a layer multiplies, or that hide their gradients.

    Args:
        modules: the matched ones by name.
        what: needs the statistics.
        needs: the statistics by name.

    Raises:
        CompressionError: naming the first.
    """
    for name, module in modules.items():
        if needs and takes_ids(module):
            raise CompressionError(
                f"pruning: {name} is an embedding, which looks up ids and multiplies no inputs, so it has no {needs[0]} for"
                f" {what}; add '{name}' to pruning.ignore, or prune it by magnitude"
            )
        if takes_ids(module) and getattr(module, "sparse", False):
            raise CompressionError(
                f"pruning: {name} is an embedding with sparse gradients, which no mask can be set on; make it with"
                " sparse=False"
            )


def refuse_experts(modules: Mapping[str, nn.Module], wants: str) -> None:
    """Refuse packed experts where layers are looked at while the model runs.

    Args:
        modules: the matched ones by name.
        wants: what does, and the way out.

    Raises:
        CompressionError: naming the first.
    """
    for name, module in modules.items():
        if isinstance(module, ExpertMatrix):
            raise CompressionError(
                f"pruning: {name} is one of many experts in one parameter, which no pass shows one by one, and {wants}, or"
                f" add '{type(module.experts).__name__}' to pruning.ignore"
            )


def units_of(shapes: Mapping[str, tuple[int, int]], pattern: Pattern) -> dict[str, int]:
    """How many weights of each layer, by its (O, I), go together."""
    return {name: math.prod(pattern.unit(*shape)) for name, shape in shapes.items()}


def _check_rounding(shapes: Mapping[str, tuple[int, int]], pruning: Pruning) -> None:
    """Refuse a sparsity that rounds to nothing in every layer, or to all of one whose weights go in groups."""
    final, units = pruning.schedule.final, units_of(shapes, pruning.pattern)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    counts = {name: sizes[name] // units[name] for name in shapes}
    what = "weights" if max(units.values()) == 1 else f"groups of the pattern {pruning.pattern.name}"
    fewest = pruning.allocation.fewest_zeros(sizes.values(), final, units.values())
    if final > 0 and fewest == 0 and max(counts.values()) * final < 1:
        raise CompressionError(
            f"pruning.schedule.final: {final:g} rounds to no weight at all in layers of at most {max(counts.values())}"
            f" {what}; raise it, or target larger layers"
        )
    if isinstance(pruning.allocation, Uniform):
        whole = [name for name in shapes if units[name] > 1 and round(final * counts[name]) == counts[name]]
        if whole:
            raise CompressionError(
                f"pruning.schedule.final: {final:g} rounds to all {counts[whole[0]]} {what} of {whole[0]}, which would be"
                f" zero throughout; lower it, or add '{whole[0]}' to pruning.ignore"
            )


def check_statistics(modules: Mapping[str, nn.Module], pruning: Pruning, stats: Stats) -> None:
    """Refuse statistics that are not those of the layers.

    Raises:
        CompressionError: naming the first layer that lacks one, or has one of another shape.
    """
    known, (part, _) = Statistic.available(), needy_part(pruning)
    for name, module in modules.items():
        if ACCUMULATED not in stats.get(name, {}):
            refuse_accumulated(pruning.criterion)
        outputs, inputs = matrix_shape(module)
        for need in pruning.needs:
            if need not in stats.get(name, {}):
                raise CompressionError(
                    f"pruning.{part.kind}: {part.kind} {part.name!r} needs {need} of {name}, and no example of the"
                    f" calibration reaches that layer; add '{name}' to pruning.ignore, or give more examples"
                )
            shape = {"(I,)": (inputs,), "(I, I)": (inputs, inputs), "(O, I)": (outputs, inputs)}[known[need].shape]
            if stats[name][need].shape != shape:
                raise CompressionError(
                    f"pruning.{part.kind}: the {need} of {name} has the shape {tuple(stats[name][need].shape)} and not"
                    f" {shape}; collect it on this model"
                )
