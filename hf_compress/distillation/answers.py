"""Forward passes as distillation needs them: an output with `logits`, and no cache that nobody reads."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from hf_compress._errors import CompressionError

_SETTINGS = {"use_cache": False, "return_dict": True}
"""With a cache, transformers does not separate the documents of a flattened batch: a teacher that has one would read across
them, and the student, whose cache the Trainer switches off, would not."""


class Answers:
    """Sets a model's configs for the time of a forward pass, and takes the logits out of the output.

    Args:
        model: a transformers model, maybe wrapped; its configs are as before outside of `settings()`.
    """

    def __init__(self, model: nn.Module) -> None:
        configs = (getattr(module, "config", None) for module in model.modules())
        self._configs = {id(config): config for config in configs if hasattr(config, "to_dict")}.values()

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """Inside, the forward returns named outputs and builds no cache."""
        before: list[tuple[Any, str, Any]] = []
        for config in self._configs:
            for name, value in _SETTINGS.items():
                known = getattr(config, name, value)
                if known is not value:
                    before.append((config, name, known))
                    setattr(config, name, value)
        try:
            yield
        finally:
            for config, name, known in before:
                setattr(config, name, known)


def logits_of(outputs: Any, who: str) -> Tensor:
    """The logits of an output.

    Raises:
        CompressionError: there are none.
    """
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor):
        raise CompressionError(f"{who} returns {type(outputs).__name__} without logits, which distillation compares")
    return logits
