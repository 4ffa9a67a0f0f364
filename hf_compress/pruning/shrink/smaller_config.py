"""The config of a shrunk model, and which counts a stock config can say."""

import copy
from dataclasses import replace
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.architectures.architecture import Architecture, Stack
from hf_compress.pruning.shrink.dimensions import Dimensions, StackDimensions
from hf_compress.pruning.shrink.pieces import Kept, KeptStack


def legal_heads(
    config: Any, architecture: Architecture, stack: Stack, dimensions: StackDimensions, hidden: int
) -> list[int]:
    """The numbers of query heads that a stack can be left with, ascending: whole groups, and what its config accepts.

    None at all where no number goes with so many channels.

    Args:
        config: the model's.
        architecture: its row.
        stack: of it.
        dimensions: of the stack.
        hidden: channels of the hidden states that are to stay.
    """
    if stack.attention.head_size is None:
        return [dimensions.heads]
    own = architecture.counts(config)
    width = {} if hidden == getattr(own, architecture.hidden[0]) else hidden_changes(own, architecture, hidden)
    as_now = dimensions.heads if not width else None  # which is accepted
    counts = range(dimensions.per_group, dimensions.heads + 1, dimensions.per_group)
    return [
        count
        for count in counts
        if count == as_now or _refusal(own, {**_head_changes(stack, dimensions, count), **width}) is None
    ]


def changes_of(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept) -> dict[str, Any]:
    """What the config says of what stays, in the part of it that has the counts."""
    counts = architecture.counts(model.config)
    changes: dict[str, Any] = {}
    for found, own, stays in zip(architecture.found(model), dimensions.stacks, kept.stacks, strict=True):
        changes |= _layer_changes(counts, found.stack, stays)
        if stays.units is not None:
            changes[found.stack.feed_forward.width] = len(stays.units[0])
        if stays.expert_units is not None:
            changes[found.stack.feed_forward.width] = len(stays.expert_units[0][0])
        if stays.experts is not None and found.stack.feed_forward.experts is not None:
            changes[found.stack.feed_forward.experts] = len(stays.experts[0])
        if stays.groups is not None:
            changes |= _head_changes(found.stack, own, len(stays.groups[0]) * own.per_group)
        if kept.channels is not None:
            changes = {**_independent_of_width(counts, found.stack, own), **changes}
    if kept.channels is not None:
        changes |= hidden_changes(counts, architecture, len(kept.channels))
    return changes


def hidden_changes(counts: Any, architecture: Architecture, hidden: int) -> dict[str, int]:
    """What the config says of that many channels of the hidden states."""
    key, *others = architecture.hidden
    whole = getattr(counts, key)
    return {key: hidden, **{other: hidden for other in others if getattr(counts, other, None) == whole}}


def refused_hidden(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept, hidden: int) -> str | None:
    """What the config's class says against that many channels beside what else stays; None where nothing."""
    asked = replace(kept, channels=tuple(range(hidden)))
    return _refusal(architecture.counts(model.config), changes_of(model, architecture, dimensions, asked))


def smaller_config(config: Any, part: str, changes: dict[str, Any]) -> Any:
    """A copy with the changes in a part of it; in itself where that is empty.

    Raises:
        CompressionError: the config's class does not accept them.
    """
    changed = copy.deepcopy(config)
    inside = getattr(changed, part) if part else changed
    refusal = _refusal(inside, changes)
    if refusal is not None:
        raise CompressionError(f"{type(inside).__name__} does not accept {changes}: {refusal}")
    for key, value in changes.items():
        setattr(inside, key, value)
    return changed


def _head_changes(stack: Stack, dimensions: StackDimensions, heads: int) -> dict[str, Any]:
    """What the config says of that many query heads; nothing where it can say all of them only."""
    attention = stack.attention
    if attention.head_size is None:
        return {attention.heads: heads}
    changes = {attention.heads: heads, attention.head_size: dimensions.head_size}
    if attention.key_value_heads:
        changes[attention.key_value_heads] = heads // dimensions.per_group
    return changes


def _independent_of_width(counts: Any, stack: Stack, dimensions: StackDimensions) -> dict[str, Any]:
    """What a class would compute from the hidden size where the config leaves it open: units, and a head's size."""
    width, head_size = stack.feed_forward.width, stack.attention.head_size
    changes = {width: dimensions.units} if getattr(counts, width, None) is None else {}
    return changes if head_size is None else {**changes, head_size: dimensions.head_size}


def _layer_changes(counts: Any, stack: Stack, kept: KeptStack) -> dict[str, Any]:
    """What the config says of the layers that stay: their number, and their part of each list."""
    lists = {key: getattr(counts, key, None) for key in stack.per_layer}
    own = {key: [value[place] for place in kept.layers] for key, value in lists.items() if isinstance(value, list | tuple)}
    return {stack.num_layers: len(kept.layers), **own}


def _refusal(config: Any, changes: dict[str, Any]) -> str | None:
    """What the config's class says against the changes when it is read from disk with them; None where nothing."""
    try:
        type(config).from_dict({**config.to_dict(), **changes})
    except Exception as error:  # each class refuses in a way of its own
        return reason_of(error)
    return None
