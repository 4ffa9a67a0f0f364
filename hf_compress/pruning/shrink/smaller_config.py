"""The config of a shrunk model, and which counts a stock config can say."""

import copy
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.dimensions import Dimensions


def legal_heads(config: Any, architecture: Architecture, dimensions: Dimensions) -> list[int]:
    """The numbers of query heads that a model can be left with, ascending: whole groups, and what its config accepts."""
    if architecture.attention.head_size is None:
        return [dimensions.heads]
    counts = range(dimensions.per_group, dimensions.heads, dimensions.per_group)
    accepted = [count for count in counts if _refusal(config, head_changes(architecture, dimensions, count)) is None]
    return [*accepted, dimensions.heads]


def head_changes(architecture: Architecture, dimensions: Dimensions, heads: int) -> dict[str, Any]:
    """What the config says of that many query heads; nothing where all stay."""
    attention = architecture.attention
    if heads == dimensions.heads or attention.head_size is None:
        return {}
    changes = {attention.heads: heads, attention.head_size: dimensions.head_size}
    if attention.key_value_heads:
        changes[attention.key_value_heads] = heads // dimensions.per_group
    return changes


def layer_changes(config: Any, architecture: Architecture, layers: tuple[int, ...]) -> dict[str, Any]:
    """What the config says of the layers that stay: their number, and their part of each list."""
    lists = {key: getattr(config, key, None) for key in architecture.per_layer}
    kept = {key: [value[place] for place in layers] for key, value in lists.items() if isinstance(value, list | tuple)}
    return {architecture.num_layers: len(layers), **kept}


def smaller_config(config: Any, changes: dict[str, Any]) -> Any:
    """A copy with the changes.

    Raises:
        CompressionError: the config's class does not accept them.
    """
    refusal = _refusal(config, changes)
    if refusal is not None:
        raise CompressionError(f"{type(config).__name__} does not accept {changes}: {refusal}")
    changed = copy.deepcopy(config)
    for key, value in changes.items():
        setattr(changed, key, value)
    return changed


def _refusal(config: Any, changes: dict[str, Any]) -> str | None:
    """What the config's class says against the changes when it is read from disk with them; None where nothing."""
    try:
        type(config).from_dict({**config.to_dict(), **changes})
    except Exception as error:  # each class refuses in a way of its own
        return reason_of(error)
    return None
