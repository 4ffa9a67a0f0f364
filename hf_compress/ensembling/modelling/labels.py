"""Members that agree on their labels by name, whatever their order."""

from typing import Any

import torch
from torch import Tensor, nn

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


class LabelOrders(nn.Module):
    """Puts members' classes into the ensemble's order; what it knows is in no checkpoint, because configs say it.

    Orders are buffers, and no constants, which the branches of an exported graph cannot hold.
    """

    def __init__(self, orders: list[list[int] | None]) -> None:
        """As `label_orders` gives them."""
        super().__init__()
        for member, order in enumerate(orders):
            self.register_buffer(f"of_{member}", None if order is None else torch.tensor(order), persistent=False)

    def forward(self, logits: Tensor, member: int) -> Tensor:
        """A member's logits (..., C) with the ensemble's first class first."""
        order = getattr(self, f"of_{member}")
        return logits if order is None else logits.index_select(-1, order.to(logits.device))


def labels_of(config: Any) -> list[str]:
    """A config's labels in the order of their ids."""
    return [str(config.id2label[number]) for number in sorted(config.id2label)]


def _shown(labels: list[str]) -> str:
    more = f", ... ({len(labels)})" if len(labels) > 5 else ""
    return ", ".join(map(repr, labels[:5])) + more
