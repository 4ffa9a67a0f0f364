"""A model that is cast for a while and has its own weights again afterwards."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def weights_kept(model: nn.Module) -> Iterator[None]:
    """Whatever the block casts or moves, the model has its own weights and buffers again afterwards.

    They are kept by reference: memory for the cast ones beside them, and no copy. Changes in place stay.
    """
    parameters = [(parameter, parameter.data) for parameter in model.parameters()]
    buffers = [(module, name, buffer) for module in model.modules() for name, buffer in module.named_buffers(recurse=False)]
    config = getattr(model, "config", None)
    dtype = getattr(config, "dtype", None)
    try:
        yield
    finally:
        for parameter, data in parameters:
            parameter.data = data
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
        if config is not None and hasattr(config, "dtype"):
            config.dtype = dtype
