"""A PEFT LoRA adapter, read from its folder: no model is built, and nothing in it is run."""

import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._kinds import shown
from hf_compress._safetensors import open_safetensors
from hf_compress.checkpoints.source import load_bin, read_settings
from hf_compress.merging.lora.scale import CONFIG, pattern_value, scale_of
from hf_compress.merging.lora.target_parameters import is_parameters

WEIGHTS, WEIGHTS_BIN = "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
"""What PEFT writes before every module name."""

_ROLES = {
    ".lora_A.weight": "a",
    ".lora_B.weight": "b",
    ".lora_B.bias": "bias",
    ".lora_embedding_A": "a",
    ".lora_embedding_B": "b",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
}
_TOKENS = ".token_adapter.trainable_tokens_delta"
_REFUSED = {
    "layer_replication": "repeats layers of the base",
    "alora_invocation_tokens": "acts on some tokens only",
    "arrow_config": "routes between adapters token by token",
    "use_bdlora": "has block-diagonal factors",
    "use_qalora": "pools its inputs",
    "kasa_config": "has a diagonal between its factors",
    "monteclora_config": "draws its weights at random",
}
"""Fields of adapter_config.json for which the change is not scale * B @ A."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that subtract the first B @ A from the base, so that the adapter fits another base than it names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraLayer:
    """One adapted module.

    Attributes:
        module: its name in the model, without PEFT's prefix.
        kind: "embedding": A is (R, tokens) and B (width, R); "matrix": A is (R, I) and B (O, R); "convolution": A is
            (R, I, kernel...) and B (O, R, 1...).
        rank: R.
        scale: alpha / R, or alpha / sqrt(R) with use_rslora; patterns considered.
        keys: role (a, b, bias, magnitude) -> tensor in the adapter's file.
    """

    module: str
    kind: Literal["matrix", "embedding", "convolution"]
    rank: int
    scale: float
    keys: Mapping[str, str]


class Adapter:
    """A PEFT LoRA adapter folder.

    Attributes:
        label: how errors name it.
        place: the folder.
        config: adapter_config.json as plain data.
        layers: what has factors, by module name, sorted.
        whole: parameters saved as a whole (modules_to_save, biases): name -> tensor in the file.
        base_copies: weights of the base that PEFT saves beside factors on embeddings: name -> tensor in the file.
        packed: factors on parameters (target_parameters): module name as in the file -> role -> tensor in the file.
        tokens: rows of single tokens: module -> tensor in the file.
    """

    def __init__(self, folder: Path, label: str | None = None) -> None:
        self.label, self.place = label or str(folder), str(folder)
        if not folder.is_dir():
            raise CompressionError(
                f"adapter {self.label}: there is no folder {folder}; name one that PEFT's save_pretrained wrote"
            )
        self.config = _read_config(folder / CONFIG)
        _check_config(self.config, self.place)
        self._tensors = _open_tensors(folder)
        self.layers: dict[str, LoraLayer] = {}
        self.whole: dict[str, str] = {}
        self.base_copies: dict[str, str] = {}
        self.packed: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self._sort()

    @property
    def base(self) -> str | None:
        """What the adapter says it was trained on."""
        return self.config.get("base_model_name_or_path") or None

    def files(self) -> list[Path]:
        """The weight file, for hashes."""
        return [self._tensors.file]

    def shape(self, key: str) -> tuple[int, ...]:
        """Of a tensor in the file."""
        return self._tensors.shapes[key]

    def read(self, key: str) -> Tensor:
        """One tensor of the file, in the type it is stored in.

        Raises:
            CompressionError: it is not finite.
        """
        tensor = self._tensors.read(key)
        # torch has no isfinite for 8-bit floats.
        if not bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all()):
            raise CompressionError(f"{self.place}: {key} holds NaN or infinity; the training of this adapter diverged")
        return tensor

    def factors(self, layer: LoraLayer) -> tuple[Tensor, Tensor]:
        """B (O, R) and A (R, I) in fp32, without the scale; kernels are flattened into I."""
        return self.read(layer.keys["b"]).float().flatten(1), self.read(layer.keys["a"]).float().flatten(1)

    def kernel(self, layer: LoraLayer) -> tuple[int, ...]:
        """The shape of A behind R: (I,), or (I, kernel...)."""
        return self.shape(layer.keys["a"])[1:]

    def read_role(self, layer: LoraLayer, role: str) -> Tensor | None:
        """The layer's bias or magnitude in fp32, flat; None where it has none."""
        return self.read(layer.keys[role]).float().flatten() if role in layer.keys else None

    def _sort(self) -> None:
        """Every tensor of the file that has an effect becomes part of one of the attributes."""
        grouped: dict[str, dict[str, str]] = {}
        shapes = self._tensors.shapes
        for key in shapes:
            name = key.removeprefix(PREFIX)
            if ".original_module." in name:
                continue  # PEFT computes with the saved module instead of it
            suffix = next((end for end in _ROLES if name.endswith(end)), None)
            if suffix is not None:
                grouped.setdefault(name.removesuffix(suffix), {})[_ROLES[suffix]] = key
            elif name.endswith(_TOKENS) and len(shapes[key]) == 2:
                self.tokens[name.removesuffix(_TOKENS)] = key
            elif ".lora_" in name or "trainable_tokens" in name:
                raise CompressionError(
                    f"{self.place}: {key} is a kind of tensor this library does not know; merge the adapter with PEFT"
                )
            elif name.endswith(".base_layer.weight"):
                self.base_copies[name.replace(".base_layer.", ".")] = key
            else:
                self.whole[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = key
        if not grouped and not self.whole and not self.tokens:
            raise CompressionError(f"{self.place} holds no tensors; nothing was adapted, or the wrong file was copied")
        targets = self.config.get("target_parameters") or []
        for module, keys in sorted(grouped.items()):
            if "a" not in keys or "b" not in keys:
                missing = "lora_A" if "a" not in keys else "lora_B"
                raise CompressionError(
                    f"{self.place}: {module} has no {missing}; the adapter's file is not whole, save it again"
                )
            if is_parameters(module, shapes[keys["a"]][0], self.config["r"], targets):
                self.packed[module] = keys
            else:
                self.layers[module] = _layer(module, keys, shapes, self.config, self.place)


class _Tensors:
    """The adapter's file, memory-mapped."""

    def __init__(self, file: Path, loaded: dict[str, Tensor] | None, opened: Any) -> None:
        self.file, self._loaded, self._open, self._lock = file, loaded, opened, threading.Lock()
        self.shapes: dict[str, tuple[int, ...]] = (
            {name: tuple(tensor.shape) for name, tensor in sorted(loaded.items())}
            if loaded is not None
            else {name: tuple(opened.get_slice(name).get_shape()) for name in sorted(opened.keys())}
        )

    def read(self, key: str) -> Tensor:
        if self._loaded is not None:
            return self._loaded[key]
        with self._lock:
            return self._open.get_tensor(key)  # type: ignore[no-any-return]


def _open_tensors(folder: Path) -> _Tensors:
    file = folder / WEIGHTS
    if file.is_file():
        return _Tensors(file, None, open_safetensors(file))
    file = folder / WEIGHTS_BIN
    if not file.is_file():
        raise CompressionError(f"{folder} holds neither {WEIGHTS} nor {WEIGHTS_BIN}; save the adapter with save_pretrained")
    return _Tensors(file, load_bin(file), None)


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CompressionError(f"{file.parent} holds no {CONFIG}; name a folder that PEFT's save_pretrained wrote")
    return read_settings(file)


def _check_config(config: dict[str, Any], place: str) -> None:
    if config.get("peft_type") != "LORA":
        raise CompressionError(f"{place}: peft_type is {shown(config.get('peft_type'))}; only LORA adapters can be merged")
    for field, meaning in _REFUSED.items():
        if config.get(field):
            raise CompressionError(
                f"{place}: {field}={shown(config[field])}: this adapter {meaning}, which is not base + scale * B @ A;"
                " merge it with PEFT"
            )
    initialization = config.get("init_lora_weights")
    if isinstance(initialization, str) and initialization.lower().startswith(_CHANGES_BASE):
        raise CompressionError(
            f"{place}: init_lora_weights={shown(initialization)} changed the base when training began; save the adapter"
            " with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...) first"
        )
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise CompressionError(f"{place}/{CONFIG}: r={shown(rank)} is not a rank; it must be an integer of at least 1")
    for field in ("rank_pattern", "alpha_pattern"):
        if not isinstance(config.get(field) or {}, dict):
            raise CompressionError(
                f"{place}/{CONFIG}: {field}={shown(config[field])} is not a mapping; write module name: number"
            )
    targets = config.get("target_parameters") or []
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        raise CompressionError(f"{place}/{CONFIG}: target_parameters={targets!r} is not a list of names; write one")


def _layer(
    module: str, keys: dict[str, str], shapes: Mapping[str, tuple[int, ...]], config: dict[str, Any], place: str
) -> LoraLayer:
    a, b = shapes[keys["a"]], shapes[keys["b"]]
    rank = pattern_value(config.get("rank_pattern") or {}, module, config["r"])
    if len(a) < 2 or len(b) != len(a) or a[0] != rank or b[1] != rank:
        raise CompressionError(
            f"{place}: {module} has A {list(a)} and B {list(b)}, and {CONFIG} gives it rank {rank}; A must be ({rank}, in)"
            f" and B (out, {rank})"
        )
    return LoraLayer(
        module=module,
        kind="embedding" if "lora_embedding_" in keys["a"] else "matrix" if len(a) == 2 else "convolution",
        rank=rank,
        scale=scale_of(config, module, rank, place),
        keys=keys,
    )
