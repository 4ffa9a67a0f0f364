"""Safetensors files whose headers come first, so that any thread writes any tensor where it belongs, in any order."""

import errno
import json
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._safetensors import INDEX
from hf_compress.checkpoints.source import SAFETENSORS_NAMES, TensorInfo

_PAGE = 4096
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of the result.

    Attributes:
        file: its name.
        header: its first bytes: length, JSON, padding.
        offsets: where each tensor begins in the file, by name.
        num_bytes: of the whole file.
    """

    file: str
    header: bytes
    offsets: dict[str, int]
    num_bytes: int


@dataclass
class Layout:
    """All files of the result, known before anything is computed.

    Attributes:
        shards: in the order of their names.
        shard_of: the shard of each tensor, by name.
        num_bytes: of the tensors alone.
    """

    shards: list[Shard]
    shard_of: dict[str, Shard] = field(default_factory=dict)
    num_bytes: int = 0

    def write_index(self, folder: Path) -> None:
        """Write model.safetensors.index.json where there is more than one file."""
        if len(self.shards) > 1:
            weight_map = {name: shard.file for shard in self.shards for name in shard.offsets}
            content = {"metadata": {"total_size": self.num_bytes}, "weight_map": dict(sorted(weight_map.items()))}
            (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def parse_size(text: str, field_name: str) -> int:
    """'5GB' -> 5 000 000 000 bytes.

    Raises:
        CompressionError: it is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", text.upper())
    if match is None or float(match[1]) <= 0:
        raise CompressionError(f"{field_name}={text!r} is not a size; write a number and B, KB, MB, GB or TB, e.g. 5GB")
    return max(1, int(float(match[1]) * _UNITS[match[2]]))


def lay_out(infos: Mapping[str, TensorInfo], max_shard_bytes: int, metadata: Mapping[str, str]) -> Layout:
    """Tensors in the order of their names, cut into files of at most `max_shard_bytes`; a larger tensor has its own.

    Args:
        infos: name -> type and shape.
        max_shard_bytes: of tensor data per file.
        metadata: text that each file's header carries; `format: pt` is added.
    """
    groups: list[list[str]] = [[]]
    filled = 0
    for name in sorted(infos):
        size = infos[name].num_bytes
        if groups[-1] and filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    layout = Layout(shards=[])
    for number, names in enumerate(groups, start=1):
        file = "model.safetensors" if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        shard = _shard(file, names, infos, metadata)
        layout.shards.append(shard)
        layout.shard_of |= dict.fromkeys(names, shard)
    layout.num_bytes = sum(info.num_bytes for info in infos.values())
    return layout


def _shard(file: str, names: Iterable[str], infos: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> Shard:
    """Wide types first, so that every tensor is aligned to its own element size."""
    ordered = sorted(names, key=lambda name: (-infos[name].dtype.itemsize, name))
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    position = 0
    begins = {}
    for name in ordered:
        begins[name] = position
        position += infos[name].num_bytes
        entries[name] = {
            "dtype": SAFETENSORS_NAMES[infos[name].dtype],
            "shape": list(infos[name].shape),
            "data_offsets": [begins[name], position],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    # Pages of the file then hold whole chunks, which halves the cost of writing them.
    text += b" " * (-(len(text) + 8) % _PAGE)
    header = struct.pack("<Q", len(text)) + text
    return Shard(
        file=file,
        header=header,
        offsets={name: len(header) + begin for name, begin in begins.items()},
        num_bytes=len(header) + position,
    )


class ShardFile:
    """One file being written, at any place in any order."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.shard = shard
        self.path = folder / shard.file
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _reserve(self._descriptor, shard.num_bytes)
            self._write(shard.header, 0)
        except OSError as error:
            os.close(self._descriptor)
            raise _named(error, self.path) from error

    def write(self, name: str, start: int, values: Tensor) -> None:
        """Write `values` (any shape, contiguous) from element `start` of the tensor `name` on.

        Raises:
            OSError: the disk is full or fails; the file is named.
        """
        data: Any = values.detach().reshape(-1).view(torch.uint8).numpy()
        try:
            self._write(memoryview(data), self.shard.offsets[name] + start * values.element_size())
        except OSError as error:
            raise _named(error, self.path) from error

    def _write(self, data: bytes | memoryview, position: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, position)
            view, position = view[written:], position + written

    def close(self) -> None:
        """Everything is on the disk when this returns.

        Raises:
            OSError: the disk is full or fails; the file is named.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _named(error, self.path) from error
        finally:
            os.close(self._descriptor)


def _named(error: OSError, path: Path) -> OSError:
    """The same error with the file's name, which the system leaves out where a descriptor is written."""
    return OSError(error.errno, error.strerror, str(path))


def _reserve(descriptor: int, num_bytes: int) -> None:
    """A full disk says so here and not in the middle."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, num_bytes)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.truncate(descriptor, num_bytes)
