"""Which units and heads stay in each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress.architectures.architecture import Architecture, Attention, FoundStack
from hf_compress.pruning.shrink.dimensions import Dimensions, StackDimensions
from hf_compress.pruning.shrink.expert_units import expert_unit_importance, expert_unit_writing
from hf_compress.pruning.shrink.experts import best_experts
from hf_compress.pruning.shrink.importance import group_importance, most_important, unit_importance
from hf_compress.pruning.shrink.pieces import Kept, KeptStack, Places
from hf_compress.pruning.shrink.plan import Importance
from hf_compress.pruning.shrink.taylor import expert_unit_loss_change, loss_change
from hf_compress.pruning.shrink.written import group_writing, measured, unit_writing

Batches = list[Mapping[str, Any]] | None


def keep_best(
    model: Any,
    architecture: Architecture,
    dimensions: Dimensions,
    kept: Kept,
    batches: Batches,
    importance: Importance,
    called: Sequence[Sequence[int]] | None = None,
) -> Kept:
    """As many units and groups as are kept, those worth most in each layer.

    Args:
        model: with the layers that are kept and the others.
        architecture: its row.
        dimensions: its counts.
        kept: how many stay, and in which layers.
        batches: they are measured on; None where nothing is.
        importance: what they are chosen by.
        called: what a refusal calls the layers that are kept, of each stack; None: by their places.

    Raises:
        CompressionError: what they are worth is not finite, or no batch reaches a layer.
    """
    called = [one.layers for one in kept.stacks] if called is None else called
    stacks = zip(architecture.found(model), dimensions.stacks, kept.stacks, called, strict=True)
    return replace(kept, stacks=tuple(_best_of_stack(model, batches, importance, *stack) for stack in stacks))


def _best_of_stack(
    model: Any,
    batches: Batches,
    importance: Importance,
    found: FoundStack,
    dimensions: StackDimensions,
    kept: KeptStack,
    called: Sequence[int],
) -> KeptStack:
    stack, layers = found.stack, [f"{dimensions.of}layer {place}" for place in called]
    groups, cross_groups = kept.groups, kept.cross_groups
    if groups is not None:
        scores = group_scores(model, found, stack.attention, dimensions, kept, batches, importance)
        if stack.attention.position_bias is not None:  # one column for a head in all layers, each of which counts alike
            scores = [_together(scores)] * len(scores)
        groups = _best(layers, scores, groups, "heads")
    if cross_groups is not None and stack.cross_attention is not None:
        scores = group_scores(model, found, stack.cross_attention, dimensions, kept, batches, importance)
        cross_groups = _best(layers, scores, cross_groups, "cross-attention heads")
    units = kept.units
    if units is not None:
        units = _best(layers, unit_scores(model, found, kept, batches, importance), units, "feed-forward units")
    experts, unseen = kept.experts, kept.unseen
    if experts is not None and stack.experts is not None:
        modules = _in_each(found, kept, stack.experts.experts)
        experts, unseen = best_experts(model, modules, dimensions.experts, len(experts[0]), batches, layers)
    expert_units = kept.expert_units
    if expert_units is not None:
        scores = expert_unit_scores(model, found, kept, batches, importance, layers)
        staying = [tuple(range(dimensions.experts))] * len(layers) if experts is None else experts
        each = zip(layers, scores, expert_units, staying, strict=True)
        expert_units = tuple(
            _best([f"{layer}, expert {one}" for one in those], list(score[list(those)]), own, "feed-forward units")
            for layer, score, own, those in each
        )
    return replace(
        kept,
        units=units,
        experts=experts,
        unseen=unseen,
        expert_units=expert_units,
        groups=groups,
        cross_groups=cross_groups,
    )


def unit_scores(model: Any, found: FoundStack, kept: KeptStack, batches: Batches, importance: Importance) -> list[Tensor]:
    """What units are worth, of each layer that stays, (units,)."""
    feed_forward = found.stack.feed_forward
    modules = _in_each(found, kept, feed_forward.output)
    if importance == "taylor" and batches is not None:
        return list(loss_change(model, modules, batches).values())
    if importance == "activations" and batches is not None:
        norms = measured(model, modules, "input_norm", batches)
        return [unit_writing(module, norms[key]) for key, module in modules.items()]
    sources = ([found.blocks[place].get_submodule(one) for one in feed_forward.inputs] for place in kept.layers)
    return [unit_importance(*pair) for pair in zip(sources, modules.values(), strict=True)]


def expert_unit_scores(
    model: Any,
    found: FoundStack,
    kept: KeptStack,
    batches: Batches,
    importance: Importance,
    called: Sequence[str] | None = None,
) -> list[Tensor]:
    """What the units of each expert are worth, of each layer that stays, (experts, units).

    Args:
        model: the experts' own.
        found: its stack.
        kept: which of its layers.
        batches: to measure on, where it is measured.
        importance: how.
        called: what a message calls the layers, in place of the names of their experts.
    """
    module, _, output = found.stack.feed_forward.output.rpartition(".")
    tensors = (found.stack.feed_forward.inputs[0].rpartition(".")[2], output)
    modules = _in_each(found, kept, module)
    if importance == "taylor" and batches is not None:
        return list(expert_unit_loss_change(model, modules, output, batches).values())
    if importance == "activations" and batches is not None:
        return list(expert_unit_writing(model, modules, tensors, batches, called).values())
    return [expert_unit_importance(*(one.get_parameter(tensor) for tensor in tensors)) for one in modules.values()]


def group_scores(
    model: Any,
    found: FoundStack,
    attention: Attention,
    dimensions: StackDimensions,
    kept: KeptStack,
    batches: Batches,
    importance: Importance,
) -> list[Tensor]:
    """What groups of heads of one of its attentions are worth, of each layer that stays, (groups,)."""
    modules = _in_each(found, kept, attention.output)
    if importance == "taylor" and batches is not None:
        return list(loss_change(model, modules, batches, dimensions.groups).values())
    if importance == "activations" and batches is not None:
        grams = measured(model, modules, "gram", batches)
        return [group_writing(module, grams[key], dimensions.groups) for key, module in modules.items()]
    parts = dict.fromkeys((attention.query, attention.key, attention.value))
    sources = [[found.blocks[place].get_submodule(one) for one in parts] for place in kept.layers]
    pairs = zip(sources, modules.values(), strict=True)
    return [group_importance(*pair, dimensions.groups, by_head=attention.by_head) for pair in pairs]


def _together(scores: list[Tensor]) -> Tensor:
    """The sum of each layer's shares, (groups,)."""
    shares = [score / score.sum().clamp(min=torch.finfo(score.dtype).tiny) for score in scores]
    return torch.stack(shares).sum(0)


def _in_each(found: FoundStack, kept: KeptStack, part: str) -> dict[str, nn.Module]:
    """Name -> a part of each layer that stays."""
    return {f"{found.prefix}.{place}.{part}": found.blocks[place].get_submodule(part) for place in kept.layers}


def _best(layers: list[str], scores: list[Tensor], places: Places, what: str) -> Places:
    """As many places of each layer as stay, those with the largest scores."""
    each = zip(layers, scores, places, strict=True)
    return tuple(most_important(score, len(stay), f"{layer}, {what}") for layer, score, stay in each)
