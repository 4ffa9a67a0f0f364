"""Whether a quantized model runs in the type that everything else of it is stored in, known before it is trained."""

import logging

import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.names import model_name
from hf_compress._modules.types import check_dtype
from hf_compress._once import log_once
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fitting import fit, is_packed
from hf_compress.quantization.loaded_small import loaded_otherwise
from hf_compress.quantization.quantizable import prepared
from hf_compress.quantization.reach import DENSE_ON_LOAD
from hf_compress.quantization.rehearsal import Layout, schemes_that

logger = logging.getLogger(__name__)


def check_storage_type(
    model: nn.Module, quantization: Quantization | None, dtype: str, layout: Layout | None = None
) -> torch.dtype | None:
    """The torch type of a name, in which the architecture computes, also as transformers loads it packed; None for "auto".

    Args:
        model: dense, prepared or without memory; only read.
        quantization: the job; None for a model that stays dense.
        dtype: the name of the type; "auto" is taken for float32, in which models are trained here.
        layout: how it is stored, where that is known.

    Raises:
        CompressionError: see `check_dtype`, or the quantized model does not run, or computes otherwise, once it is loaded.
    """
    target = check_dtype(model, dtype)
    if quantization is None:
        return target
    layout = layout or _layout_of(model, quantization)
    reason = loaded_otherwise(model, layout, target or torch.float32)
    if not reason:
        return target
    _check_float32(model, quantization, layout)
    raise CompressionError(f"{_does_not_run(model, dtype, reason)}; store them in float32")


def check_before_training(model: nn.Module, quantization: Quantization) -> None:
    """The same for a model that is about to be trained, where nobody has said yet in which type it will be stored.

    What does not compute the same in any type is refused; what does not in 16 bits, the usual type, is logged.

    Raises:
        CompressionError: the quantized model computes otherwise once it is loaded.
    """
    layout = _layout_of(model, quantization)
    reason = loaded_otherwise(model, layout, torch.bfloat16)
    if reason:
        _check_float32(model, quantization, layout)
        message = f"{_does_not_run(model, 'bfloat16', reason)}; leave them in float32 when it is finalized or exported"
        log_once(logger, logging.WARNING, message)


def _layout_of(model: nn.Module, quantization: Quantization) -> Layout:
    """How it will be stored; a prepared model says so itself."""
    modules = prepared(model.named_modules())
    if not modules:
        return fit(model, quantization)[1]
    schemes = {name: module.qat_scheme for name, module in modules.items()}
    packed = is_packed(modules, schemes)
    return Layout(schemes=schemes, dense_on_load=bool(getattr(model, DENSE_ON_LOAD, False)), packed=packed)


def _does_not_run(model: nn.Module, dtype: str, reason: str) -> str:
    return f"{model_name(model)} does not run quantized with weights stored in {dtype} ({reason})"


def _check_float32(model: nn.Module, quantization: Quantization, layout: Layout) -> None:
    """Refuse what computes otherwise in float32 too, with the schemes that do not."""
    reason = loaded_otherwise(model, layout, torch.float32)
    if not reason:
        return
    used = " and ".join(scheme.name for scheme in quantization.schemes)
    suited = (torch.float32, torch.bfloat16)
    others = schemes_that(
        model, layout.schemes, lambda one: not any(loaded_otherwise(model, one, target) for target in suited)
    )
    raise CompressionError(
        f"quantization: {model_name(model)} with scheme {used} computes otherwise once it is loaded ({reason});"
        + (f" take {' or '.join(others)}" if others else " prune or distil this model instead")
    )
