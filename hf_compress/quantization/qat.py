"""Quantization-aware training: prepare a model, train it, convert it."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.finite import check_finite
from hf_compress._modules.names import canonical_name
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fake_quantize import weight_qparams
from hf_compress.quantization.fitting import fit
from hf_compress.quantization.quantizable import FakeQuantized, make_plain, prepared, quantizable
from hf_compress.quantization.reach import DENSE_ON_LOAD

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


def prepare(model: nn.Module, quantization: Quantization, enabled: bool = True) -> dict[str, nn.Module]:
    """Turn the matched modules into fake-quantizing ones, in place.

    Args:
        model: changed in place; parameters and their names stay.
        quantization: which modules, which scheme.
        enabled: whether the forward pass is quantized from now on.

    Returns:
        The prepared modules by name.

    Raises:
        CompressionError: see `check_model`.
    """
    selection, layout = fit(model, quantization)
    for name, module in selection.modules.items():
        kind = quantizable(module)
        assert kind is not None
        module.__class__ = kind.fake  # type: ignore[assignment]
        module.qat_scheme = layout.schemes[name]  # type: ignore[assignment]
        module.qat_enabled = enabled  # type: ignore[assignment]
    if layout.dense_on_load:
        setattr(model, DENSE_ON_LOAD, True)
    for name, reason in selection.left_out.items():
        keep_dense(model.get_submodule(name), reason)
    return selection.modules


def prepare_like(model: nn.Module, prepared_model: nn.Module) -> None:
    """Turn the same modules into fake-quantizing ones, in place, as in another model of the class.

    Args:
        model: changed in place.
        prepared_model: what `prepare` and training made of it; only read.
    """
    modules = {canonical_name(name): module for name, module in prepared_model.named_modules()}
    for name, module in list(model.named_modules()):
        like: Any = modules.get(name)
        if isinstance(like, FakeQuantized):
            kind = quantizable(module)
            assert kind is not None
            module.__class__ = kind.fake  # type: ignore[assignment]
            module.qat_scheme, module.qat_enabled = like.qat_scheme, like.qat_enabled  # type: ignore[assignment]
        elif hasattr(like, "left_dense"):
            keep_dense(module, like.left_dense)
    if hasattr(prepared_model, DENSE_ON_LOAD):
        setattr(model, DENSE_ON_LOAD, getattr(prepared_model, DENSE_ON_LOAD))


def keep_dense(module: nn.Module, reason: str) -> None:
    """Leave a module out, and note on it why; one that was prepared becomes an ordinary one again."""
    make_plain(module)
    module.left_dense = reason  # type: ignore[assignment]


def set_enabled(model: nn.Module, enabled: bool) -> None:
    """Switch fake quantization on or off in every prepared module."""
    for module in prepared(model.named_modules()).values():
        module.qat_enabled = enabled


def is_enabled(model: nn.Module) -> bool:
    """True where fake quantization is on in a prepared module."""
    return any(module.qat_enabled for module in prepared(model.named_modules()).values())


@torch.no_grad()
def convert(model: nn.Module) -> list[str]:
    """Hand prepared modules over to compressed-tensors, in place: plain modules plus scheme and scales.

    Modules that compressed-tensors does not pack stay as they are, computing with rounded weights, for a format that holds
    them. The weights stay what they were trained to be; their scales are attached, so that writing the model rounds them
    exactly as the training forward did. From then on every way of saving a transformers model (`save_pretrained`, the
    Trainer's `save_model`, `push_to_hub`) writes the compressed checkpoint; see `serializer`.

    Returns:
        The names of the converted modules.

    Raises:
        CompressionError: no module was prepared, or a weight is NaN or infinite; nothing is converted then.
    """
    check_finite(model)
    modules = prepared(model.named_modules())
    if not modules:
        raise CompressionError("no module is prepared for quantization; call prepare() or quantize() first")
    from hf_compress.quantization.serializer import attach_serializer, is_packable

    for module in modules.values():
        matrix, scheme = module.matrix_kind.matrix(module.weight), module.qat_scheme
        module.qat_enabled = True
        if is_packable(type(module), scheme):
            make_plain(module)
            _attach(module, matrix, scheme)
    if hasattr(model, "save_pretrained"):
        attach_serializer(model)  # type: ignore[arg-type]
    return list(modules)


def _attach(module: nn.Module, matrix: torch.Tensor, scheme: "QuantizationScheme") -> None:
    """Scheme and scales, where compressed-tensors looks for them.

    Args:
        module: a plain one again.
        matrix: (O, I), its weight.
        scheme: as it was trained with.
    """
    from compressed_tensors.quantization import QuantizationStatus, initialize_module_for_quantization

    initialize_module_for_quantization(module, scheme, force_zero_point=False)
    if scheme.weights is not None:
        scale, zero_point, global_scale = weight_qparams(matrix, scheme.weights)
        qparams = {"weight_scale": scale, "weight_zero_point": zero_point, "weight_global_scale": global_scale}
        for key, value in qparams.items():
            parameter = getattr(module, key, None)
            if parameter is not None and value is not None:
                parameter.data.copy_(value.reshape(parameter.shape))
    module.quantization_status = QuantizationStatus.FROZEN  # type: ignore[assignment]
