"""Whether modules train or evaluate."""

import contextlib
from collections.abc import Iterator

from torch import nn


class evaluation_mode:
    """Evaluation mode inside the `with` block; every module gets its own mode back."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._modes = [(module, module.training) for module in self._model.modules()]
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        for module, training in self._modes:
            module.training = training


@contextlib.contextmanager
def evaluating_without_gradients(model: nn.Module) -> Iterator[None]:
    """Evaluation mode in the block, and no weight that asks for a gradient; afterwards all is as it was.

    torch adds up a product in another order where a weight asks for a gradient, also where none is computed.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with evaluation_mode(model):
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
