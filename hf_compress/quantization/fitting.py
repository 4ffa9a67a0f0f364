"""Which modules of a model a quantization reaches, refused before training where one cannot be or could not be loaded."""

import collections
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import dry_run
from hf_compress._modules.matching import Selection, inventory, obstacles, require_matches, select_modules
from hf_compress._modules.matrix import matrix_shape
from hf_compress._modules.module_kind import kind_of
from hf_compress._modules.names import canonical_name
from hf_compress._modules.routers import routers
from hf_compress.checkpoints.export_format import ExportFormat, every_format
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.groups import assigned
from hf_compress.quantization.quantizable import FakeQuantized, quantizable, quantizable_classes
from hf_compress.quantization.rehearsal import Layout, loadable_layout

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

BYPASSED = "the architecture reads its weight by itself instead of calling it"
"""Why a module stays dense whose forward never runs: training would not see it quantized, and the export would round it."""


def check_model(model: nn.Module, quantization: Quantization, formats: Sequence[ExportFormat] | None = None) -> Selection:
    """The modules `quantization` names, refused where one cannot be quantized or the result could not be loaded.

    Args:
        model: dense, prepared or without memory.
        quantization: the job.
        formats: those that the result may be written in; None = every one there is.

    Returns:
        The modules, and what was left out although its class was named: tied and computed weights, routers, subclasses with
        a forward of their own, and modules that a dry run shows to be bypassed.

    Raises:
        CompressionError: nothing matches, a module that was named cannot be quantized, a module is in two groups, a group
            has no module, the group size does not divide the inputs of a module, no format can hold one, or transformers
            would not load the scheme for this architecture.
    """
    return fit(model, quantization, formats)[0]


def fit(
    model: nn.Module, quantization: Quantization, formats: Sequence[ExportFormat] | None = None
) -> tuple[Selection, Layout]:
    """The same, and how the result is stored."""
    selection = _chosen(model, quantization)
    places = assigned(selection.modules, quantization.parts)
    stored = [group.scheme.to_compressed_tensors(group.targets) for group in quantization.parts]
    schemes = {name: stored[place] for name, place in places.items()}
    for name, place in places.items():
        _check_fit(name, selection.modules[name], stored[place], quantization, place)
    able = _holding(selection.modules, schemes, every_format() if formats is None else formats)
    if any(each.packs for each in able):
        return selection, loadable_layout(model, schemes, quantization)
    return selection, Layout(schemes=schemes, dense_on_load=False, packed=False)


def is_packed(modules: Mapping[str, nn.Module], schemes: Mapping[str, "QuantizationScheme"]) -> bool:
    """Whether a format in which compressed-tensors packs can hold these modules."""
    return any(form.packs for form in _holding(modules, schemes, every_format()))


def _holding(
    modules: Mapping[str, nn.Module], schemes: Mapping[str, "QuantizationScheme"], formats: Sequence[ExportFormat]
) -> list[ExportFormat]:
    """The formats that can hold every module.

    Raises:
        CompressionError: there is none; naming the first module that one cannot hold.
    """
    refusals: dict[ExportFormat, tuple[str, str]] = {}
    for each in formats:
        for name, module in modules.items():
            reason = each.holds(module, schemes[name])
            if reason:
                refusals[each] = name, reason
                break
    if len(refusals) < len(formats):
        return [each for each in formats if each not in refusals]
    # That of the format which comes furthest: what holds nothing at all says little about the module.
    name = max((found for found, _ in refusals.values()), key=list(modules).index)
    reasons = "; ".join(f"{each.name}: {reason}" for each, (found, reason) in refusals.items() if found == name)
    raise CompressionError(
        f"quantization: {name} is a {type(modules[name]).__name__}, and no export format of this run can hold it quantized"
        f" ({reasons}); take its class or name out of targets, or add '{name}' to quantization.ignore"
    )


def _chosen(model: nn.Module, quantization: Quantization) -> Selection:
    """What is named and can be trained quantized."""
    targets = quantization.every_target
    for place, group in enumerate(quantization.groups):
        require_matches(model, group.targets, f"quantization.groups.{place}.targets")
    candidates = _candidates(model)
    selection = select_modules(model, targets, quantization.ignore, "quantization")
    selection = selection.without(routers(model, selection.modules, targets), targets, "quantization")
    special = {
        name: f"it is a {type(module).__name__}, and only plain {quantizable_classes()} modules can be quantized"
        for name, module in selection.modules.items()
        if quantizable(module) is None
    }
    selection = selection.without(special, targets, "quantization", instead=f"{candidates} can be")
    fresh = {name: module for name, module in selection.modules.items() if not isinstance(module, FakeQuantized)}
    seen = dry_run(model, fresh) if fresh else None
    bypassed = {name: BYPASSED for name in fresh if seen is not None and name in seen.bypassed}
    return selection.without(bypassed, targets, "quantization")


def _candidates(model: nn.Module) -> str:
    """The modules that could be quantized, whatever is asked for: "Linear x13".

    Raises:
        CompressionError: there is none.
    """
    modules = {canonical_name(name): module for name, module in model.named_modules() if name}
    found = {name: quantizable(module) for name, module in modules.items()}
    kinds = {name: kind.replaces.__name__ for name, kind in found.items() if kind is not None}
    reasons = {name: reason for name, reason in obstacles(model).items() if name in kinds}
    counts = collections.Counter(kind for name, kind in kinds.items() if name not in reasons)
    if not counts:
        first = "".join(f", and {name} cannot: {reason}" for name, reason in list(reasons.items())[:1])
        has = inventory(modules).removeprefix("the model has ")
        raise CompressionError(
            f"quantization: {type(model).__name__} has no plain {quantizable_classes()} module that can be quantized (it"
            f" has {has}{first}); prune or distil it instead"
        )
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items()))


def _check_fit(name: str, module: nn.Module, stored: "QuantizationScheme", quantization: Quantization, place: int) -> None:
    """Refuse a module that does not fit its scheme."""
    kind, known = quantizable(module), kind_of(module)
    assert kind is not None and known is not None
    obstacle = kind.obstacle(module, stored)
    if obstacle:
        raise CompressionError(f"quantization: {name} cannot be quantized: {obstacle}")
    group_size = None if stored.weights is None else stored.weights.group_size
    width = matrix_shape(module)[1]
    if not group_size or width % group_size == 0:
        return
    key = f"groups.{place}.scheme.group_size" if quantization.groups else "scheme.group_size"
    fits = [size for size in (128, 64, 32, 16) if width % size == 0]
    open_ = quantization.parts[place].scheme.finest() != quantization.parts[place].scheme
    raise CompressionError(
        f"quantization: group_size={group_size} does not divide the {width} inputs of {name}; "
        + (f"set {key} to {fits[0]}" if fits and open_ else f"add '{name}' to quantization.ignore")
    )
