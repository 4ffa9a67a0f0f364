"""Quantized members, presented as dense ones: every packed weight is unpacked when it is read."""

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError, reason_of
from hf_compress.checkpoints.source import Source, TensorInfo

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme

FORMATS = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized")
_SIDE = ("weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx")
_STATIC = ("input_scale", "input_zero_point", "output_scale", "output_zero_point")
"""Calibrated ranges of activations: they belong to the quantized model, not to its weights."""


def quantization_method(source: Source) -> str | None:
    """How the checkpoint is quantized, by config.json; None for a dense one."""
    settings = source.config.get("quantization_config")
    return None if not settings else str(settings.get("quant_method", "unknown"))


def dense_source(source: Source) -> Source:
    """The source itself where it is dense, else one that presents its dense tensors.

    Raises:
        CompressionError: it is quantized in a way that cannot be undone here.
    """
    return source if quantization_method(source) is None else DequantizedSource(source)


class DequantizedSource(Source):
    """A compressed-tensors checkpoint as dense tensors: w = scale * (q - zero_point), in the type of the scale.

    compressed-tensors' own functions unpack and scale, so a tensor is bit for bit what transformers computes with. Nothing
    is unpacked before it is read, and only one tensor at a time.
    """

    def __init__(self, source: Source) -> None:
        """Args:
        source: a checkpoint in the format pack-, int-, float- or naive-quantized.

        Raises:
            CompressionError: another quantization method or format, calibrated key-value caches, or packed tensors that
                config.json does not explain.
        """
        self.label, self.place = source.label, source.place
        self.config = {key: value for key, value in source.config.items() if key != "quantization_config"}
        self._source = source
        self._settings = _settings(source)
        self._schemes: dict[str, QuantizationScheme] = {}
        infos: dict[str, TensorInfo] = {}
        for name, info in source.infos.items():
            module, _, part = name.rpartition(".")
            if part in (*_SIDE, *_STATIC):
                if part != "weight_shape" and f"{module}.weight_scale" not in source.infos:
                    infos[name] = info  # a tensor of the model that happens to have such a name
            elif part == "weight_packed" or (part == "weight" and f"{module}.weight_scale" in source.infos):
                scheme = self._schemes[module] = _scheme(self._settings, module, source)
                scale = source.infos.get(f"{module}.weight_scale")
                if scale is None:
                    raise CompressionError(
                        f"{source.place}: {name} has no weight_scale beside it; write or download the checkpoint again"
                    )
                shape = info.shape if part == "weight" else _packed_shape(source, module, info)
                _check_scale(source, module, scheme, shape, scale.shape)
                dtype = scale.dtype if scale.dtype.itemsize > 1 else torch.bfloat16
                infos[f"{module}.weight"] = TensorInfo(dtype=dtype, shape=shape)
            else:
                infos[name] = info
        if not self._schemes:
            raise CompressionError(
                f"{source.place}: config.json says it is quantized, but no tensor is packed or has a scale; remove"
                " quantization_config from it if it is dense"
            )
        self.infos = dict(sorted(infos.items()))

    @property
    def quantized(self) -> tuple[str, ...]:
        """The names of the modules whose weights are packed on disk."""
        return tuple(sorted(self._schemes))

    def scheme(self, module: str) -> "QuantizationScheme":
        """How the weight of a quantized module is stored."""
        return self._schemes[module]

    def scale(self, module: str) -> Tensor:
        """The stored scale of a quantized module: (O, 1) per channel, (O, I / group) per group."""
        return self._source.read(f"{module}.weight_scale")

    def stacked_config(self, places: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any]:
        """The stored config.json, with the modules it names by the names they have in a stacked model.

        Args:
            places: tensor of the result -> (label of a source, tensor in it) of each.
        """
        names: dict[str, list[str]] = {name.rpartition(".")[0]: [] for name in self.infos}
        for new, found in places.items():
            for label, old in found:
                moved = names.get(old.rpartition(".")[0], []) if label == self.label else []
                if new.rpartition(".")[0] not in moved:
                    moved.append(new.rpartition(".")[0])

        def renamed(patterns: Sequence[str]) -> list[str]:
            return [name for pattern in patterns for name in names.get(pattern, [pattern])]

        config = copy.deepcopy(self._source.config)
        settings = config["quantization_config"]
        settings["ignore"] = renamed(settings.get("ignore") or [])
        for group in settings["config_groups"].values():
            group["targets"] = renamed(group["targets"])
        return config

    def read(self, name: str) -> Tensor:
        """One tensor, dense."""
        from compressed_tensors.compressors import BaseCompressor

        module, _, part = name.rpartition(".")
        if part != "weight" or module not in self._schemes:
            return self._source.read(name)
        scheme = self._schemes[module]
        stored = {
            key: self._source.read(f"{module}.{key}")
            for key in ("weight", "weight_packed", *_SIDE)
            if f"{module}.{key}" in self._source.infos
        }
        compressor: Any = BaseCompressor.get_value_from_registry(scheme.format)
        try:
            weight: Tensor = compressor.decompress(stored, scheme)["weight"]
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            reason = reason_of(error)
            raise CompressionError(
                f"{self.place}: {name} cannot be unpacked as quantization_config says ({reason}); write or download the"
                " checkpoint again"
            ) from error
        return weight.to(self.infos[name].dtype)

    def files(self) -> list[Path]:
        """The weight files behind it; sorted."""
        return self._source.files()


def _settings(source: Source) -> "QuantizationConfig":
    """config.json's quantization as compressed-tensors' object, with the format of every group filled in."""
    method = quantization_method(source)
    if method != "compressed-tensors":
        raise CompressionError(
            f"{source.place} is quantized with {method}, and only compressed-tensors checkpoints can be unpacked for a"
            " merge; merge the model it was made from"
        )
    from compressed_tensors.quantization import QuantizationConfig

    data = dict(source.config["quantization_config"])
    try:
        settings = QuantizationConfig.model_validate(data)
        for pattern in [
            *(settings.ignore or ()),
            *(each for group in settings.config_groups.values() for each in group.targets),
        ]:
            re.compile(pattern.removeprefix("re:") if pattern.startswith("re:") else "")
    except (ValueError, TypeError, AttributeError, LookupError, re.error) as error:
        reason = reason_of(error)
        raise CompressionError(f"{source.place}/config.json: quantization_config cannot be read: {reason}") from error
    if settings.kv_cache_scheme is not None:
        raise CompressionError(
            f"{source.place} carries calibrated ranges of its key-value cache, which say nothing about a merged model;"
            " merge the model it was made from"
        )
    for scheme in settings.config_groups.values():
        chosen = scheme.format or settings.format
        if chosen is None or str(getattr(chosen, "value", chosen)) not in FORMATS:
            raise CompressionError(
                f"{source.place} is stored as {getattr(chosen, 'value', chosen)}, and a merge unpacks {', '.join(FORMATS)};"
                " merge the model it was made from"
            )
        scheme.format = chosen
    return settings


def _scheme(settings: "QuantizationConfig", module: str, source: Source) -> "QuantizationScheme":
    """The group a module belongs to: one that names it, else the only one that names a class."""
    from compressed_tensors.utils.match import match_name

    groups = list(settings.config_groups.values())
    named = [group for group in groups if any(match_name(module, target) for target in group.targets)]
    by_class = [group for group in groups if any(_is_class(target) for target in group.targets)]
    chosen = named[:1] or (by_class if len(by_class) == 1 else [])
    if not chosen or chosen[0].weights is None:
        raise CompressionError(
            f"{source.place}: {module} is quantized, but no group of quantization_config says how (or several may); write"
            " the checkpoint again with one group per scheme"
        )
    return chosen[0]


def _packed_shape(source: Source, module: str, packed: TensorInfo) -> tuple[int, ...]:
    """(O, I) of integers that are packed into int32 along I.

    Raises:
        CompressionError: it is not stored, or cannot be.
    """
    if f"{module}.weight_shape" not in source.infos:
        raise CompressionError(
            f"{source.place}: {module}.weight_packed has no weight_shape beside it; write or download the checkpoint again"
        )
    stored = source.read(f"{module}.weight_shape")
    shape = tuple(stored.flatten().tolist())[:3]
    fits = len(shape) == len(packed.shape) and shape[:-1] == packed.shape[:-1]
    if not fits or not packed.shape[-1] <= shape[-1] <= 32 * packed.shape[-1]:
        raise CompressionError(
            f"{source.place}: {module}.weight_shape is {list(shape)}, which does not fit {list(packed.shape)} packed"
            " integers; write or download the checkpoint again"
        )
    return shape


def _check_scale(
    source: Source, module: str, scheme: "QuantizationScheme", shape: tuple[int, ...], scale: tuple[int, ...]
) -> None:
    """Refuse scales in groups of another size than config.json says, which only reading the weight would find out."""
    assert scheme.weights is not None, module
    size = scheme.weights.group_size
    if size is None or size < 1 or len(shape) != 2 or len(scale) != 2:
        return
    if scale != (shape[0], -(-shape[1] // size)):
        raise CompressionError(
            f"{source.place}: {module} has {list(shape)} weights and {list(scale)} scales, which are not groups of"
            f" {size} as quantization_config says; write or download the checkpoint again"
        )


def _is_class(target: str) -> bool:
    return not target.startswith("re:") and "." not in target and target[:1].isupper()
