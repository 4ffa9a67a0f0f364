"""BatchNorm statistics for averaged weights."""

import copy
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from hf_compress._errors import CompressionError


class _Unpacked(nn.Module):
    """Calls a model as transformers models are called."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Any:
        return self.model(**batch) if isinstance(batch, Mapping) else self.model(batch)


def update_batch_norm(model: nn.Module, batches: Iterable[Mapping[str, Tensor] | Tensor]) -> None:
    """Recompute the running mean and variance of every BatchNorm layer over `batches`, in place.

    The activations of averaged weights have other statistics than those of the weights that were trained, and SWA is only
    as good as its paper says with its own (Izmailov et al. 2018, section 3.2). Each batch counts equally. The weights and
    the mode of every module stay; a model without BatchNorm is not run. A batch that fails leaves the model as it was.

    Args:
        model: on the batches' device.
        batches: what the model is called with: mappings of keyword arguments, or single tensors. Some hundred training
            batches, augmented as in training.

    Raises:
        CompressionError: there are no batches.
    """
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise CompressionError(
            "update_batch_norm got no batches, and statistics of nothing would ruin the model; pass some"
        )
    modes = {module: module.training for module in model.modules()}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(norm, norm.momentum, copy.deepcopy(dict(norm.named_buffers()))) for norm in norms]
    try:
        update_bn(itertools.chain([first], rest), _Unpacked(model))
    except BaseException:
        for norm, momentum, buffers in before:
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        raise
    finally:
        for module, mode in modes.items():
            module.training = mode
