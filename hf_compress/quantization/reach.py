"""How much of a prepared or converted model is quantized, in which schemes, and what it asks of those who load it."""

import collections
import logging
from typing import TYPE_CHECKING, Any

from torch import nn

from hf_compress import _distributed
from hf_compress._modules.coverage import Coverage, coverage
from hf_compress._modules.names import canonical_name
from hf_compress._once import log_once
from hf_compress._registry import dump
from hf_compress.quantization.scheme import scheme_of

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

logger = logging.getLogger(__name__)

DENSE_ON_LOAD = "unpacked_when_loaded"
"""Attribute of a model whose config tells transformers to unpack the weights while it loads, not in the first forward."""


def stored_scheme(module: nn.Module) -> "QuantizationScheme | None":
    """How the numbers of a prepared or converted module are stored; None for a dense one."""
    return getattr(module, "qat_scheme", None) or getattr(module, "quantization_scheme", None)


def left_dense(model: nn.Module) -> dict[str, str]:
    """The modules that `prepare` or the first training step left out: canonical name -> why."""
    return {
        canonical_name(name): module.left_dense  # type: ignore[misc]
        for name, module in model.named_modules()
        if isinstance(getattr(module, "left_dense", None), str)
    }


def quantized_coverage(model: nn.Module) -> Coverage:
    """How much of a prepared or converted model is quantized, and what was left out."""
    quantized = {
        canonical_name(name): module for name, module in model.named_modules() if stored_scheme(module) is not None
    }
    return coverage(model, quantized, left_dense(model))


def quantized_sentence(model: nn.Module) -> str:
    """The coverage in one line; where there are several schemes, how many modules have which; empty without any."""
    found = quantized_coverage(model)
    if not found.matched:
        return ""
    schemes = scheme_counts(model)
    mixed = "; " + ", ".join(f"{name} in {count}" for name, count in schemes.items()) if len(schemes) > 1 else ""
    return found.sentence("quantized") + mixed


def scheme_counts(model: nn.Module) -> dict[str, int]:
    """Scheme -> how many modules have it, the most frequent first."""
    names: dict[int, str] = {}
    counts: collections.Counter[str] = collections.Counter()
    for module in model.modules():
        stored = stored_scheme(module)
        if stored is not None:
            counts[names.setdefault(id(stored), _name(stored))] += 1
    return dict(counts.most_common())


def _name(stored: "QuantizationScheme") -> str:
    scheme = scheme_of(stored)
    plain: Any = "another scheme" if scheme is None else dump(scheme)
    if isinstance(plain, str):
        return plain
    name = plain.pop("name")
    return f"{name} ({', '.join(f'{key} {value}' for key, value in plain.items())})"


def announce(model: nn.Module) -> None:
    """Log, once in a run, how much is quantized, as a warning where it is less than half, and what loading it asks for."""
    if not _distributed.is_main():
        return
    share = quantized_coverage(model).share
    log_once(logger, logging.INFO if share >= 0.5 else logging.WARNING, quantized_sentence(model))
    advice = loading_advice(model)
    if advice:
        log_once(logger, logging.WARNING, advice)


def loading_advice(model: nn.Module) -> str:
    """What a prepared or converted model asks of those who load it; empty where it asks nothing."""
    stored = [scheme for module in model.modules() if (scheme := stored_scheme(module)) is not None]
    couple = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if not couple or not stored or getattr(model, DENSE_ON_LOAD, False):
        return ""
    activations = any(scheme.input_activations is not None for scheme in stored)
    what = "a scheme with quantized activations" if activations else "this scheme, or several in one model,"
    return (
        f"transformers unpacks {what} in the first forward of the whole model, and generate()"
        " calls the encoder before it: after loading, call model(...) once before generate()"
    )
