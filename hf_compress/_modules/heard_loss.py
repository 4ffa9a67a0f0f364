"""What a model hands its loss beside logits and labels."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor


@contextlib.contextmanager
def heard_loss(model: Any) -> Iterator[dict[str, Any]]:
    """What the head of `model` hands its loss in calls within the block, which give a loss of 0 and no more.

    Of CTC it is how many frames each recording becomes, which only the model knows. The loss is back behind the block.
    """
    heard: dict[str, Any] = {}

    def listen(logits: Tensor, labels: Tensor, **given: Any) -> Tensor:
        heard.update(given)
        return logits.new_zeros(())

    before = model.loss_function
    model.loss_function = listen
    try:
        yield heard
    finally:
        model.loss_function = before
