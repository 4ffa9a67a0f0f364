"""Quantization-aware training: prepare a model, train it, convert it."""

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import dry_run
from hf_compress._modules.coverage import Coverage, coverage
from hf_compress._modules.finite import check_finite
from hf_compress._modules.matching import Selection, select_modules
from hf_compress._modules.names import canonical_name
from hf_compress._once import log_once
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fake_quantize import fake_quantize_input, fake_quantize_weight, weight_qparams
from hf_compress.quantization.rehearsal import loadable_layout
from hf_compress.quantization.routers import routers

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

logger = logging.getLogger(__name__)


class FakeQuantizedLinear(nn.Linear):
    """A Linear whose forward sees quantized weights (and inputs, where the scheme says so).

    A module becomes one by changing its class, so parameter names, state dicts and optimizers stay as they were.
    """

    qat_scheme: "QuantizationScheme"
    qat_enabled: bool

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        if not self.qat_enabled:
            return functional.linear(input, self.weight, self.bias)
        weight = self.weight
        if self.qat_scheme.weights is not None:
            weight = fake_quantize_weight(weight, self.qat_scheme.weights)
        if self.qat_scheme.input_activations is not None:
            input = fake_quantize_input(input, self.qat_scheme.input_activations, self)
        return functional.linear(input, weight, self.bias)


BYPASSED = "the architecture reads its weight by itself instead of calling it"
"""Why a module stays dense whose forward never runs: training would not see it quantized, and the export would round it."""


def check_model(model: nn.Module, quantization: Quantization) -> Selection:
    """The modules `quantization` names, refused where one cannot be quantized or the result could not be loaded.

    Returns:
        The modules, and what was left out although its class was named: tied and computed weights, routers, subclasses of
        Linear with a forward of their own, and modules that a dry run shows to be bypassed.

    Raises:
        CompressionError: nothing matches, a module that was named cannot be quantized, the group size does not divide the
            inputs of a module, or transformers would not load the scheme for this architecture.
    """
    selection = _fitting(model, quantization)
    loadable_layout(model, selection.modules, quantization)
    return selection


def _fitting(model: nn.Module, quantization: Quantization) -> Selection:
    """What can be quantized."""
    selection = select_modules(model, quantization.targets, quantization.ignore, "quantization")
    selection = selection.without(
        routers(model, selection.modules, quantization.targets), quantization.targets, "quantization"
    )
    weights = quantization.scheme.to_compressed_tensors(quantization.targets).weights
    group_size = weights.group_size if weights is not None else None
    plain = (nn.Linear.forward, FakeQuantizedLinear.forward)
    special = {
        name: f"it is a {type(module).__name__}, and only plain Linear modules can be quantized"
        for name, module in selection.modules.items()
        if not isinstance(module, nn.Linear) or type(module).forward not in plain
    }
    selection = selection.without(special, quantization.targets, "quantization")
    fresh = {name: module for name, module in selection.modules.items() if not isinstance(module, FakeQuantizedLinear)}
    seen = dry_run(model, fresh) if fresh else None
    bypassed = {name: BYPASSED for name in fresh if seen is not None and name in seen.bypassed}
    selection = selection.without(bypassed, quantization.targets, "quantization")
    for name, module in selection.modules.items():
        assert isinstance(module, nn.Linear)
        if group_size and module.in_features % group_size:
            fits = [size for size in (128, 64, 32, 16) if module.in_features % size == 0]
            raise CompressionError(
                f"quantization: group_size={group_size} does not divide the {module.in_features} inputs of {name}; "
                + (f"set scheme.group_size to {fits[0]}" if fits else f"add '{name}' to quantization.ignore")
            )
    return selection


def prepare(model: nn.Module, quantization: Quantization, enabled: bool = True) -> dict[str, nn.Module]:
    """Turn the matched Linear modules into fake-quantizing ones, in place.

    Args:
        model: changed in place; parameters and their names stay.
        quantization: which modules, which scheme.
        enabled: whether the forward pass is quantized from now on.

    Returns:
        The prepared modules by name.

    Raises:
        CompressionError: see `check_model`.
    """
    selection = _fitting(model, quantization)
    layout = loadable_layout(model, selection.modules, quantization)
    for module in selection.modules.values():
        module.__class__ = FakeQuantizedLinear
        module.qat_scheme = layout.scheme  # type: ignore[assignment]
        module.qat_enabled = enabled  # type: ignore[assignment]
    if layout.dense_on_load:
        from hf_compress.quantization.serializer import DENSE_ON_LOAD

        setattr(model, DENSE_ON_LOAD, True)
    for name, reason in selection.left_out.items():
        keep_dense(model.get_submodule(name), reason)
    return selection.modules


def keep_dense(module: nn.Module, reason: str) -> None:
    """Leave a module out, and note on it why; one that was prepared becomes a Linear again."""
    if isinstance(module, FakeQuantizedLinear):
        module.__class__ = nn.Linear  # type: ignore[assignment]
        del module.qat_scheme, module.qat_enabled
    module.left_dense = reason  # type: ignore[assignment]


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
        canonical_name(name): module
        for name, module in model.named_modules()
        if isinstance(module, FakeQuantizedLinear) or getattr(module, "quantization_scheme", None) is not None
    }
    return coverage(model, quantized, left_dense(model))


def announce(model: nn.Module) -> None:
    """Log, once in a run, how much is quantized, as a warning where it is less than half, and what loading it asks for."""
    if not _distributed.is_main():
        return
    found = quantized_coverage(model)
    log_once(logger, logging.INFO if found.share >= 0.5 else logging.WARNING, found.sentence("quantized"))
    advice = loading_advice(model)
    if advice:
        log_once(logger, logging.WARNING, advice)


def loading_advice(model: nn.Module) -> str:
    """What a prepared or converted model asks of those who load it; empty where it asks nothing."""
    couple = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    schemes = (
        getattr(module, "qat_scheme", None) or getattr(module, "quantization_scheme", None) for module in model.modules()
    )
    if not couple or all(scheme is None or scheme.input_activations is None for scheme in schemes):
        return ""
    return (
        "transformers unpacks a scheme with quantized activations in the first forward of the whole model, and generate()"
        " calls the encoder before it: after loading, call model(...) once before generate()"
    )


def set_enabled(model: nn.Module, enabled: bool) -> None:
    """Switch fake quantization on or off in every prepared module."""
    for module in model.modules():
        if isinstance(module, FakeQuantizedLinear):
            module.qat_enabled = enabled


def is_enabled(model: nn.Module) -> bool:
    """True where fake quantization is on in a prepared module."""
    return any(isinstance(module, FakeQuantizedLinear) and module.qat_enabled for module in model.modules())


@torch.no_grad()
def convert(model: nn.Module) -> list[str]:
    """Hand prepared modules over to compressed-tensors, in place: plain Linear plus scheme and scales.

    The weights stay what they were trained to be; their scales are attached, so that writing the model rounds them exactly
    as the training forward did. From then on every way of saving a transformers model (`save_pretrained`, the Trainer's
    `save_model`, `push_to_hub`) writes the compressed checkpoint; see `serializer`.

    Returns:
        The names of the converted modules.

    Raises:
        CompressionError: no module was prepared, or a weight is NaN or infinite; nothing is converted then.
    """
    from compressed_tensors.quantization import QuantizationStatus, initialize_module_for_quantization

    check_finite(model)
    converted = []
    for name, module in model.named_modules():
        if not isinstance(module, FakeQuantizedLinear):
            continue
        scheme = module.qat_scheme
        module.__class__ = nn.Linear  # type: ignore[assignment]
        del module.qat_scheme, module.qat_enabled
        initialize_module_for_quantization(module, scheme, force_zero_point=False)
        if scheme.weights is not None:
            scale, zero_point, global_scale = weight_qparams(module.weight, scheme.weights)
            qparams = {"weight_scale": scale, "weight_zero_point": zero_point, "weight_global_scale": global_scale}
            for key, value in qparams.items():
                parameter = getattr(module, key, None)
                if parameter is not None and value is not None:
                    parameter.data.copy_(value.reshape(parameter.shape))
        module.quantization_status = QuantizationStatus.FROZEN  # type: ignore[assignment]
        converted.append(name)
    if not converted:
        raise CompressionError("no module is prepared for quantization; call prepare() or quantize() first")
    if hasattr(model, "save_pretrained"):
        from hf_compress.quantization.serializer import attach_serializer

        attach_serializer(model)  # type: ignore[arg-type]
    return converted
