"""A checkpoint as named tensors that are read one at a time."""

import dataclasses
import json
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError, reason_of
from hf_compress._model_size import check_counts
from hf_compress._safetensors import Entry, member_folders, open_safetensors, read_entries, weight_files
from hf_compress.checkpoints.special_floats import decode_floats
from hf_compress.checkpoints.weight_files import bin_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """What is known of a tensor without reading it."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Its size on disk."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


class Source:
    """Named tensors of one model.

    Everything that changes a member before it is merged (an adapter, another vocabulary, stacked layers, unpacked integers)
    is a source that wraps a source, so the engine knows nothing of it.

    Attributes:
        label: how errors, rules and random numbers name the member.
        place: the folder or file, for errors.
        config: the checkpoint's config.json as plain data, infinity and NaN as numbers; {} without one.
        infos: what is in it, by name, sorted.
    """

    label: str
    place: str
    config: dict[str, Any]
    infos: Mapping[str, TensorInfo]

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, possibly memory-mapped: never write to it. Safe to call from several threads.

        Raises:
            CompressionError: it cannot be read.
        """
        raise TypeError(f"{type(self).__name__} defines no read()")

    def files(self) -> list[Path]:
        """The weight files behind it, for hashes; sorted."""
        return []


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
SAFETENSORS_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class SafetensorsSource(Source):
    """A folder of safetensors files, memory-mapped."""

    def __init__(self, folder: Path, label: str) -> None:
        self.label, self.place, self.config = label, str(folder), _read_config(folder)
        self._entries: dict[str, Entry] = read_entries(folder)
        self._files = sorted({entry.file for entry in self._entries.values()})
        self.infos = {name: _info(name, self._entries[name]) for name in sorted(self._entries)}
        self._open: dict[Path, Any] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> Tensor:
        """A view of the mapped file."""
        file = self._entries[name].file
        with self._lock:
            if file not in self._open:
                self._open[file] = open_safetensors(file)
            return self._open[file].get_tensor(name)  # type: ignore[no-any-return]

    def files(self) -> list[Path]:
        """The checkpoint's files."""
        return self._files


class BinSource(Source):
    """A folder of .bin files, loaded weights-only: nothing in them is run."""

    def __init__(self, folder: Path, label: str) -> None:
        self.label, self.place, self.config = label, str(folder), _read_config(folder)
        self._files = bin_files(folder)
        self._tensors: dict[str, Tensor] = {}
        for file in self._files:
            self._tensors.update(load_bin(file))
        for name, tensor in self._tensors.items():
            if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in SAFETENSORS_NAMES:
                kind = f"{tensor.dtype}, {tensor.layout}".replace("torch.", "")
                raise CompressionError(f"{folder}: {name} is stored as {kind}, a type this library does not read")
        self.infos = {
            name: TensorInfo(dtype=tensor.dtype, shape=tuple(tensor.shape))
            for name, tensor in sorted(self._tensors.items())
        }

    def read(self, name: str) -> Tensor:
        """The loaded tensor."""
        return self._tensors[name]

    def files(self) -> list[Path]:
        """The checkpoint's files."""
        return self._files


def open_source(folder: Path, label: str) -> Source:
    """The checkpoint in `folder`, whichever way it is stored.

    Raises:
        CompressionError: there is no checkpoint, it is an adapter's, or it is damaged.
    """
    if not folder.is_dir():
        raise CompressionError(f"{label}: there is no folder {folder}; name a folder written by save_pretrained")
    if member_folders(folder):
        raise CompressionError(
            f"{label}: {folder} holds an ensemble, which is several models; name one of its members' folders"
        )
    if weight_files(folder):
        return SafetensorsSource(folder, label)
    if bin_files(folder):
        return BinSource(folder, label)
    if (folder / "adapter_config.json").is_file():
        raise CompressionError(
            f"{label}: {folder} holds an adapter and no model; merge it into its base, naming that as `model` and this"
            " folder as `adapter`"
        )
    raise CompressionError(
        f"{label}: {folder} holds no .safetensors file and no pytorch_model.bin; save the model with save_pretrained first"
    )


def _info(name: str, entry: Entry) -> TensorInfo:
    if entry.dtype not in _DTYPES:
        raise CompressionError(f"{entry.file}: {name} is stored as {entry.dtype}, a type this library does not read")
    return TensorInfo(dtype=_DTYPES[entry.dtype], shape=entry.shape)


_MOST_LEVELS = 100


def read_settings(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CompressionError: it holds none.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = {UnicodeDecodeError: "not UTF-8", RecursionError: "nested without end"}.get(type(error), str(error))
        raise CompressionError(f"{file} is not valid JSON ({reason}); write or download it again") from error
    if not isinstance(data, dict):
        raise CompressionError(f"{file} holds no settings; write or download it again")
    depth, level = 0, [data]
    while level:
        depth += 1
        if depth > _MOST_LEVELS:
            raise CompressionError(f"{file} is nested more than {_MOST_LEVELS} levels deep; write or download it again")
        below = [value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)]
        level = [value for values in below for value in values]
    return data


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        return {}
    data: dict[str, Any] = decode_floats(read_settings(file))
    for key, kind in (("architectures", list), ("quantization_config", dict), ("text_config", dict), ("model_type", str)):
        if not isinstance(data.get(key), kind | None):
            raise CompressionError(f"{file} is not a configuration of a model ({key}); write or download it again")
    if not all(isinstance(name, str) for name in data.get("architectures") or ()):
        raise CompressionError(f"{file} is not a configuration of a model (architectures); write or download it again")
    check_counts(data, str(file))
    return data


def load_bin(file: Path) -> dict[str, Tensor]:
    """The named tensors of a .bin file.

    Raises:
        CompressionError: it holds anything else, which is not run, or is damaged.
    """
    try:
        # Files older than the zip format cannot be mapped; they are loaded.
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # a refused object, an old format, a truncated archive: each raises its own kind
        reason = reason_of(error, 200)
        if "weights_only" in str(error):  # torch then advises to run whatever the file holds
            reason = "it is damaged, or holds objects that would have to be run; save it again as safetensors"
        raise CompressionError(f"{file} cannot be loaded as weights only: {reason}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CompressionError(f"{file} holds something else than named tensors; write it again with save_pretrained")
    return loaded
