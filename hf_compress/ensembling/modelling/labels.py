"""Members that agree on their labels by name, whatever their order."""

from typing import Any

from hf_compress._errors import CompressionError


def label_orders(configs: list[Any], names: list[str]) -> list[list[int] | None]:
    """For each member, which of its classes is the ensemble's first, second, ...; None where its order is the same.

    The ensemble's order is the first member's.

    Args:
        configs: the members'.
        names: of the members.

    Raises:
        CompressionError: two members have different labels, or a name is there twice.
    """
    first = labels_of(configs[0])
    orders: list[list[int] | None] = []
    for name, config in zip(names, configs, strict=True):
        own = labels_of(config)
        if len(set(own)) < len(own):
            raise CompressionError(f"member {name!r} has a label twice: {_shown(own)}; each label needs a name of its own")
        if sorted(own) != sorted(first):
            raise CompressionError(
                f"member {name!r} has the labels {_shown(own)}, member {names[0]!r} has {_shown(first)}; members of an"
                " ensemble must have the same labels, by name"
            )
        orders.append(None if own == first else [own.index(label) for label in first])
    return orders


def labels_of(config: Any) -> list[str]:
    """A config's labels in the order of their ids."""
    return [str(config.id2label[number]) for number in sorted(config.id2label)]


def _shown(labels: list[str]) -> str:
    more = f", ... ({len(labels)})" if len(labels) > 5 else ""
    return ", ".join(map(repr, labels[:5])) + more
