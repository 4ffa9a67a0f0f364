"""From a plan to the parts of a model that stay; everything that can be refused is refused here."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import build, skeleton
from hf_compress._kinds import require
from hf_compress._modules.plain_model import require_plain
from hf_compress._sharding.contract import is_sharded, original_class
from hf_compress.architectures.architecture import Architecture, architecture_of
from hf_compress.pruning.shrink.choice import ShrinkChoice, row_in_words, size_of
from hf_compress.pruning.shrink.dimensions import Dimensions, dimensions_of
from hf_compress.pruning.shrink.importance import group_importance, most_important, unit_importance
from hf_compress.pruning.shrink.influence import block_influence
from hf_compress.pruning.shrink.pieces import Kept, Piece, check_stock, pieces_of
from hf_compress.pruning.shrink.plan import ShrinkPlan, amount_of
from hf_compress.pruning.shrink.smaller_config import head_changes, layer_changes, legal_heads, smaller_config

Batches = Iterable[Mapping[str, Any]]


def choose_parts(model: Any, plan: ShrinkPlan, calibration: Batches | None = None) -> ShrinkChoice:
    """Choose what stays of a model, and say what that saves; nothing is changed.

    Feed-forward units and heads are chosen by their weights (`unit_importance`, `group_importance`), each layer its own;
    layers by their influence on the calibration batches (`block_influence`), unless the plan names their places.

    Args:
        model: a transformers model of a type that `hf_compress/architectures` knows, whole and with dense weights.
        plan: how much stays.
        calibration: batches of the model's keyword arguments; only a number of layers looks at them.

    Returns:
        What `shrink` takes in the place of the plan; `describe()` says it in words.

    Raises:
        CompressionError: see `shrink`.
    """
    require(plan, ShrinkPlan, "choose_parts(model, ShrinkPlan(feed_forward=0.5))")
    check_model(model)
    architecture = architecture_of(model)
    dimensions = dimensions_of(model, architecture)
    kept = _first_ones(model, architecture, dimensions, plan)
    built = built_smaller(model, architecture, dimensions, kept)
    check_stock(built, model, pieces_of(model, architecture, dimensions, kept))
    influence = None
    if not isinstance(plan.layers, tuple) and len(kept.layers) < dimensions.layers:
        influence = _influence(model, architecture, plan, calibration)
        layers = most_important(torch.tensor(influence, dtype=torch.float64), len(kept.layers), "layers")
        kept = Kept(layers=layers, units=kept.units, groups=kept.groups)
        built = built_smaller(model, architecture, dimensions, kept)
    kept = _most_important(model, architecture, dimensions, kept)
    whole = skeleton(model)
    pieces = pieces_of(model, architecture, dimensions, kept)
    return ShrinkChoice(
        kept=kept,
        made_for=dimensions,
        influence=None if influence is None else tuple(influence),
        before=size_of(whole, ((name, tensor.itemsize) for name, tensor in model.named_parameters())),
        after=size_of(built, _item_bytes(model, pieces)),
        row=row_in_words(whole),
    )


def check_model(model: Any) -> None:
    """Refuse a model whose tensors are not all there, dense and whole.

    Raises:
        CompressionError: with the way out.
    """
    if not isinstance(model, torch.nn.Module):
        raise CompressionError(f"a {type(model).__name__} given where a model is expected; load it with from_pretrained")
    require_plain(model, "shrinking")
    if is_sharded(model):
        raise CompressionError("shrinking takes a model that lies whole in one process; shrink it before it is sharded")
    absent = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if absent is not None:
        raise CompressionError(
            f"{absent} has no memory (offloaded, or never loaded); load the model whole and shrink it then"
        )


def built_smaller(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept) -> Any:
    """The model's class with the smaller config, without memory.

    Raises:
        CompressionError: the class does not accept the config.
    """
    changes = layer_changes(model.config, architecture, kept.layers)
    if kept.units is not None:
        changes[architecture.feed_forward.width] = len(kept.units[0])
    if kept.groups is not None:
        changes |= head_changes(architecture, dimensions, len(kept.groups[0]) * dimensions.per_group)
    config = smaller_config(model.config, changes)
    built = build(original_class(model), config, None, "meta")
    if built is None:
        raise CompressionError(f"{type(model).__name__} cannot be built from its config alone; shrink the model inside it")
    return built


def _first_ones(model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan) -> Kept:
    """As many of each part as the plan asks for, the first ones, and layers where it names them.

    Raises:
        CompressionError: a number is not legal, with those that are.
    """
    layers, units, groups = tuple(range(dimensions.layers)), None, None
    if plan.layers is not None:
        layers = _layers(model, architecture, dimensions, plan.layers)
    if plan.feed_forward is not None:
        count = amount_of(plan.feed_forward, dimensions.units)
        if count > dimensions.units:
            raise CompressionError(f"feed_forward={count}: {dimensions}; legal: 1 to {dimensions.units}")
        units = (tuple(range(count)),) * len(layers) if count < dimensions.units else None
    if plan.heads is not None:
        count = amount_of(plan.heads, dimensions.groups) * (dimensions.per_group if isinstance(plan.heads, float) else 1)
        _check_heads(model, architecture, dimensions, count)
        stay = tuple(range(count // dimensions.per_group))
        groups = (stay,) * len(layers) if count < dimensions.heads else None
    return Kept(layers=layers, units=units, groups=groups)


def _layers(
    model: Any, architecture: Architecture, dimensions: Dimensions, asked: int | float | tuple[int, ...]
) -> tuple[int, ...]:
    if isinstance(asked, tuple):
        layers = asked
        if layers[-1] >= dimensions.layers:
            raise CompressionError(f"layers={list(asked)}: {dimensions}; legal places: 0 to {dimensions.layers - 1}")
    else:
        count = amount_of(asked, dimensions.layers)
        if count > dimensions.layers:
            raise CompressionError(f"layers={count}: {dimensions}; legal: 1 to {dimensions.layers}")
        layers = tuple(range(count))
    reason = architecture.place_matters(model.config)
    first = tuple(range(len(layers)))
    if reason and len(layers) < dimensions.layers and (layers != first or not isinstance(asked, tuple)):
        raise CompressionError(
            f"layers={list(asked) if isinstance(asked, tuple) else asked}: with {reason} a layer computes something else at"
            f" another place, so only the last ones can go; write layers={list(first)}"
        )
    return layers


def _check_heads(model: Any, architecture: Architecture, dimensions: Dimensions, count: int) -> None:
    legal = legal_heads(model.config, architecture, dimensions)
    if count in legal:
        return
    kind, config = architecture.name, type(model.config).__name__
    if architecture.attention.head_size is None:
        raise CompressionError(
            f"heads={count}: {config} has no key for the size of a head, which is always hidden size / heads, so heads"
            f" cannot be removed; legal for this {kind}: {dimensions.heads}, all of them"
        )
    rule = f"whole groups of {dimensions.per_group} heads" if dimensions.per_group > 1 else "whole heads"
    raise CompressionError(
        f"heads={count}: {dimensions}; legal for this {kind}: {', '.join(map(str, legal))} ({rule}, in numbers that"
        f" {config} accepts)"
    )


def _influence(model: Any, architecture: Architecture, plan: ShrinkPlan, calibration: Batches | None) -> list[float]:
    if calibration is None:
        raise CompressionError(
            f"layers={plan.layers} says how many layers stay and not which; give calibration, batches on which their"
            " influence is measured, or their places, such as layers=[0, 1, 3]"
        )
    if isinstance(calibration, Mapping | Tensor):
        raise CompressionError("calibration is an iterable of batches, mappings of tensors; give one batch as [batch]")
    return block_influence(model, list(architecture.block_list(model)[1]), calibration)


def _most_important(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept) -> Kept:
    """The same numbers of units and groups, those worth most in each layer."""
    _, blocks = architecture.block_list(model)
    attention, feed_forward = architecture.attention, architecture.feed_forward
    units, groups = [], []
    for place in kept.layers:
        part = blocks[place].get_submodule
        if kept.units is not None:
            score = unit_importance([part(name) for name in feed_forward.inputs], part(feed_forward.output))
            units.append(most_important(score, len(kept.units[0]), f"layer {place}, feed-forward units"))
        if kept.groups is not None:
            score = group_importance(part(attention.value), part(attention.output), dimensions.groups)
            groups.append(most_important(score, len(kept.groups[0]), f"layer {place}, heads"))
    return Kept(layers=kept.layers, units=tuple(units) or None, groups=tuple(groups) or None)


def _item_bytes(model: Any, pieces: dict[str, Piece]) -> Iterable[tuple[str, int]]:
    """Parameter name in the shrunk model -> bytes of one number, as the model stores it."""
    own = model.state_dict()
    return ((name, own[piece.source].itemsize) for name, piece in pieces.items() if piece.source in own)
