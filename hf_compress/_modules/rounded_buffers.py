"""Buffers that no checkpoint stores: a cast of the whole model rounds them, and loading computes them anew."""

import contextlib
import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hf_compress._once import log_once

logger = logging.getLogger(__name__)


def rounded_buffers(model: nn.Module, fresh: nn.Module) -> dict[str, Tensor]:
    """Buffers that no checkpoint stores (rotary frequencies) and that a cast of the whole model rounded, as loaded."""
    stored, own = model.state_dict().keys(), dict(model.named_buffers())
    return {
        name: buffer
        for name, buffer in fresh.named_buffers()
        if name not in stored
        and name in own
        and own[name].shape == buffer.shape
        and _is_rounded(own[name].to(buffer.device), buffer)
    }


def _is_rounded(own: Tensor, exact: Tensor) -> bool:
    """The exact values in fewer bits, also where they were cast back to more since."""
    if own.dtype != exact.dtype:
        return torch.equal(exact.to(own.dtype), own)
    narrow = (torch.bfloat16, torch.float16) if exact.is_floating_point() else ()
    return not torch.equal(own, exact) and any(torch.equal(exact.to(dtype).to(own.dtype), own) for dtype in narrow)


def say_rounded(buffers: Mapping[str, Tensor]) -> None:
    """Name the first of them in the log."""
    for name in list(buffers)[:1]:
        message = "%s of the model in memory was rounded by a cast; loading computes it anew, and more exactly"
        log_once(logger, logging.WARNING, message, name)


@contextlib.contextmanager
def in_place_of(model: nn.Module, buffers: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other values in its buffers, and its own again afterwards."""
    own = dict(model.named_buffers())
    kept = {name: own[name].data for name in buffers}
    try:
        for name, value in buffers.items():
            own[name].data = value.to(own[name].device)
        yield
    finally:
        for name, value in kept.items():
            own[name].data = value
