"""Every way of saving a quantized model writes the compressed checkpoint: transformers asks this object what to write.

`save_pretrained` (and with it `Trainer.save_model` and `push_to_hub`) takes weights from `model.hf_quantizer` where there
is one. The one attached here packs a copy, module by module, with compressed-tensors' own compressors, so that the model
stays what it was: it can be run, saved again (the same bytes), and saved elsewhere after a failure.
"""

import copy
from collections.abc import Iterable
from typing import Any

import compressed_tensors
from compressed_tensors.compressors import BaseCompressor, ModelCompressor
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import QuantizationScheme, QuantizationStatus
from torch import Tensor, nn
from transformers import CompressedTensorsConfig, PreTrainedConfig, PreTrainedModel
from transformers.quantizers.base import HfQuantizer

from hf_compress._errors import CompressionError
from hf_compress.quantization.quantizable import prepared
from hf_compress.quantization.reach import DENSE_ON_LOAD
from hf_compress.quantization.stored import complete_config


class Serializer(HfQuantizer):
    """Packs a quantized model while transformers saves it.

    Attributes:
        whole: False on a part of a quantized model (the encoder under a head), whose names and config are not the whole's.
        is_ours: marks a model that this library converted, for those who must not import compressed-tensors to ask.
    """

    is_ours = True

    def __init__(self, settings: dict[str, Any], whole: bool) -> None:
        super().__init__(CompressedTensorsConfig(**settings))
        self.whole = whole
        self.dense_on_load = bool(settings.get("dequantize"))

    def get_state_dict_and_metadata(self, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors that a checkpoint of the model holds, by the model's names, and no metadata.

        Raises:
            CompressionError: only a part of the quantized model is saved, or a module of it cannot be packed.
        """
        for name in prepared(model.named_modules()):
            raise CompressionError(
                f"{name} is quantized, and compressed-tensors does not pack modules of its class; write the model in a"
                f" format that holds it, or add '{name}' to quantization.ignore"
            )
        if not self.whole:
            raise CompressionError(
                f"{type(model).__name__} is a part of a quantized model, and its own config does not say how; save the"
                " whole model"
            )
        return packed_state(model), {}

    def loaded_state(self, model: nn.Module, packed: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that plain transformers makes of that checkpoint: packed, or dense where the settings say so."""
        return dense_state(model, packed) if self.dense_on_load else packed

    def is_serializable(self) -> bool:
        """Yes: that is what this is for."""
        return True

    @property
    def is_trainable(self) -> bool:
        """No: compressed-tensors' forward has no gradient."""
        return False


def attach_serializer(model: PreTrainedModel) -> None:
    """Let every way of saving the model write the compressed checkpoint, its config included.

    The model gets a config of its own: one that it shares with another model must not say that the other is quantized.

    Args:
        model: with converted modules, or with prepared ones that only another format can hold, which every way of saving
            then refuses.
    """
    settings = quantization_settings(model) if is_converted(model) else {}
    _own_config(model)
    if settings:
        model.config.quantization_config = settings
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and (is_converted(module) or prepared(module.named_modules())):
            module.hf_quantizer = Serializer(settings, whole=module is model)  # type: ignore[assignment]
            module.is_quantized = True  # type: ignore[assignment]


def quantization_settings(model: nn.Module) -> dict[str, Any]:
    """`quantization_config` of config.json, as compressed-tensors writes it."""
    settings = ModelCompressor.from_pretrained_model(model).quantization_config
    assert settings is not None
    complete_config(settings, model)
    settings.quantization_status = QuantizationStatus.COMPRESSED
    return {
        "version": compressed_tensors.__version__,
        "sparsity_config": {},
        "transform_config": {},
        **settings.model_dump(mode="json"),
        **({"dequantize": True} if getattr(model, DENSE_ON_LOAD, False) else {}),
    }


def is_packable(module: type[nn.Module], scheme: QuantizationScheme) -> bool:
    """Whether compressed-tensors packs weights of a class of modules in a scheme."""
    names = [name for name in BaseCompressor.registered_names() if name != CompressionFormat.dense.value]
    return any(BaseCompressor.get_value_from_registry(name).can_compress(module, scheme) for name in names)


def _own_config(model: PreTrainedModel) -> None:
    copied: dict[int, Any] = {}
    copy.deepcopy(model.config, copied)
    for module in model.modules():
        for key, value in [*vars(module).items()]:
            if isinstance(value, PreTrainedConfig) and id(value) in copied:
                setattr(module, key, copied[id(value)])


def packed_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with the weights of quantized modules packed, in new tensors; the model is only read."""
    state: dict[str, Tensor] = model.state_dict()
    packed: dict[int, dict[str, Tensor]] = {}
    own = _keys_by_module(state)
    for name, module in model.named_modules(remove_duplicate=False):
        if not is_quantized(module) or module.quantization_status is QuantizationStatus.COMPRESSED:
            continue
        local = {key.rpartition(".")[2]: state.pop(key) for key in own.get(name, ())}
        if id(module) not in packed:
            compressor = BaseCompressor.get_value_from_registry(module.quantization_scheme.format.value)
            packed[id(module)] = compressor.compress(local, module.quantization_scheme)
        state.update({f"{name}.{key}": value for key, value in packed[id(module)].items()})
    return state


def dense_state(model: nn.Module, packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """A packed state dict with the weights unpacked again, without scales, as `dequantize: true` loads it."""
    state, own = dict(packed), _keys_by_module(packed)
    for name, module in model.named_modules(remove_duplicate=False):
        if not is_quantized(module):
            continue
        local = {key.rpartition(".")[2]: state.pop(key) for key in own.get(name, ())}
        compressor = BaseCompressor.get_value_from_registry(module.quantization_scheme.format.value)
        dense = compressor.decompress(local, module.quantization_scheme)
        weight: Any = module.weight
        state.update({f"{name}.{key}": value for key, value in dense.items() if key == "bias"})
        state[f"{name}.weight"] = dense["weight"].to(weight.dtype)
    return state


def _keys_by_module(state: Iterable[str]) -> dict[str, list[str]]:
    """Names of tensors by the module that holds them, in their order."""
    found: dict[str, list[str]] = {}
    for key in state:
        found.setdefault(key.rpartition(".")[0], []).append(key)
    return found


def is_quantized(module: nn.Module) -> bool:
    """The module carries compressed-tensors' scheme."""
    return getattr(module, "quantization_scheme", None) is not None


def without_rounding(model: nn.Module) -> list[str]:
    """The quantized modules whose forward rounds nothing, because the model was pickled.

    compressed-tensors puts a forward that rounds on each module, and a pickle keeps the name of a method alone.
    """
    return [
        name
        for name, module in model.named_modules()
        if is_quantized(module) and getattr(vars(module).get("forward"), "__func__", None) is type(module).forward
    ]


def is_converted(model: nn.Module) -> bool:
    """The model, or a module of it, was converted or loaded quantized."""
    return any(is_quantized(module) for module in model.modules())
