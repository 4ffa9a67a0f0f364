"""The first training step shows what a dry run could not: which quantized modules training passes by."""

import logging
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from hf_compress import _distributed
from hf_compress._modules.matching import Selection
from hf_compress._modules.names import canonical_name
from hf_compress._problems import and_more
from hf_compress._sharding.contract import sharding_of
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fitting import BYPASSED
from hf_compress.quantization.qat import keep_dense
from hf_compress.quantization.quantizable import FakeQuantized

logger = logging.getLogger(__name__)


class BypassWatch:
    """Leaves modules out whose weight gets a gradient in the first step although their forward never ran.

    Such a gradient says that the architecture computes with the weight by itself, so fake quantization never reached it:
    up to here the module was trained as the plain module that it becomes, and nothing about the step changes. A module
    without a gradient and without a call (an expert that no token chose, a tower of another modality) stays prepared; it
    is quantized whenever it is called.
    """

    def __init__(self, quantization: Quantization) -> None:
        self._quantization = quantization
        self._modules: dict[str, nn.Module] = {}
        self._called: set[str] = set()
        self._handles: list[Any] = []

    def begin(self, model: nn.Module) -> None:
        """Watch every prepared module until the first optimizer step."""
        self._modules = {
            canonical_name(name): module for name, module in model.named_modules() if isinstance(module, FakeQuantized)
        }
        self._called.clear()
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_pre_hook(lambda *_, name=name: self._called.add(name)))

    def end(self) -> None:
        """Stop watching and leave out what was passed by; nothing after the first call.

        Raises:
            CompressionError: the quantization names such a module, or nothing else is quantized.
        """
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        silent = [name for name, called in zip(self._modules, self._anywhere(), strict=True) if not called]
        bypassed = {name: BYPASSED for name in silent if _has_gradient(self._modules[name])}
        Selection(modules=self._modules, left_out={}).without(bypassed, self._quantization.every_target, "quantization")
        for name in bypassed:
            keep_dense(self._modules[name], BYPASSED)
        if bypassed and _distributed.is_main():
            logger.warning("quantization leaves %s dense: %s", and_more(list(bypassed)), BYPASSED)

    def _anywhere(self) -> list[bool]:
        """For each module, whether it was called in any process: all must leave out the same."""
        flags = torch.tensor([name in self._called for name in self._modules], dtype=torch.int32)
        if _distributed.world_size() > 1 and dist.is_initialized():
            device = next(iter(self._modules.values())).weight.device
            flags = flags.to(device)  # type: ignore[arg-type]
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return [bool(flag) for flag in flags.tolist()]


def _has_gradient(module: nn.Module) -> bool:
    """In any process that holds a part of it."""
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    sharding = sharding_of(weight)
    gradient = sharding.gradient(weight)
    return gradient is not None and sharding.across(weight).total(int(gradient.any())) > 0
