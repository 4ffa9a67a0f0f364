"""Quantization-aware training: prepare a model, train it, convert it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._finite import check_finite
from hf_compress._modules import match_modules
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fake_quantize import fake_quantize_input, fake_quantize_weight, weight_qparams

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


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


def check_model(model: nn.Module, quantization: Quantization) -> dict[str, nn.Module]:
    """The modules `quantization` names, refused where one cannot be quantized.

    Returns:
        Modules by name, in the model's order.

    Raises:
        CompressionError: nothing matches, a module is no plain Linear, or the group size does not divide its inputs.
    """
    modules = match_modules(model, quantization.targets, quantization.ignore, "quantization")
    weights = quantization.scheme.to_compressed_tensors(quantization.targets).weights
    group_size = weights.group_size if weights is not None else None
    for name, module in modules.items():
        if not isinstance(module, nn.Linear) or type(module).forward not in (
            nn.Linear.forward,
            FakeQuantizedLinear.forward,
        ):
            raise CompressionError(
                f"quantization: {name} is a {type(module).__name__}, and only plain Linear modules can be quantized;"
                f" add '{name}' to quantization.ignore"
            )
        if group_size and module.in_features % group_size:
            fits = [size for size in (128, 64, 32, 16) if module.in_features % size == 0]
            raise CompressionError(
                f"quantization: group_size={group_size} does not divide the {module.in_features} inputs of {name}; "
                + (f"set scheme.group_size to {fits[0]}" if fits else f"add '{name}' to quantization.ignore")
            )
    return modules


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
    modules = check_model(model, quantization)
    scheme = quantization.scheme.to_compressed_tensors(quantization.targets)
    for module in modules.values():
        module.__class__ = FakeQuantizedLinear
        module.qat_scheme = scheme  # type: ignore[assignment]
        module.qat_enabled = enabled  # type: ignore[assignment]
    return modules


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
