"""A sharded model's tensors, put together one at a time on the first process's disk and read from there.

No process ever holds more than one of them whole: a file that is mapped takes memory only while it is looked at, and the
system takes that back where it is short.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._disk import disk_errors, require_space
from hf_compress._errors import CompressionError
from hf_compress._folders import held, refuse_link
from hf_compress._sharding.contract import full_shape, local, reshard, whole
from hf_compress.checkpoints.source import SAFETENSORS_NAMES, SafetensorsSource, TensorInfo
from hf_compress.checkpoints.writer import Layout, ShardFile, lay_out
from hf_compress.training.averaging.tensors import unwrapped

GATHERED = ".gathered"
"""The folder of the files, while they have a name."""
_FILE_BYTES = 2 * 10**9
_AGAIN = "try again"


@torch.no_grad()
def gathered(model: nn.Module, place: Path, keep: bool) -> dict[str, Tensor]:
    """The state dict of the unwrapped model, in files that are mapped. Every process must call it.

    The files have no name any more when this returns, so nobody has to remove them: the system gives their space back with
    the last tensor. Writing to a tensor changes this process's memory and no file.

    Args:
        model: with or without wrappers; stays as it is.
        place: a folder with space for the weights; made where it is missing.
        keep: False in processes that only help to gather; they get {}.

    Raises:
        CompressionError: in every process, what the disk of one said: it has too little space, before anything is gathered,
            or fails.
    """
    inner = unwrapped(model)
    reshard(inner)
    tensors: dict[str, Tensor] = inner.state_dict(keep_vars=True)
    stored: dict[int, str] = {}
    for name, tensor in tensors.items():
        stored.setdefault(id(tensor), name)  # tied weights stay one tensor
    firsts = {name: tensors[name] for name in stored.values()}
    with contextlib.ExitStack() as stack:
        files: _Files | None = _distributed.together(
            lambda: stack.enter_context(_written(firsts, place / GATHERED)) if keep else None
        )
        for name, tensor in firsts.items():
            full = whole(local(tensor), like=tensor).cpu()
            if files is not None:
                files.write(name, full)
        found: dict[str, Tensor] = _distributed.together(lambda: {} if files is None else files.read())
    return {name: found[stored[id(tensor)]] for name, tensor in tensors.items()} if keep else {}


class _Files:
    """The files of one process. After an error they take what comes, so that no process waits for this one."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder, self._layout = folder, layout
        self._files: dict[str, ShardFile] = {}
        self._in_memory: dict[str, Tensor] = {}
        self._failed: CompressionError | None = None
        try:
            for shard in layout.shards:
                self._files[shard.file] = ShardFile(folder, shard)
        except OSError:
            self.close()
            raise

    def write(self, name: str, full: Tensor) -> None:
        """One tensor; what safetensors has no type for stays in memory."""
        if name not in self._layout.shard_of:
            self._in_memory[name] = full.clone()
        elif self._failed is None:
            try:
                with disk_errors(self._folder, _AGAIN, every=True):
                    self._files[self._layout.shard_of[name].file].write(name, 0, full.contiguous())
            except CompressionError as error:
                self._failed = error

    def read(self) -> dict[str, Tensor]:
        """All that was written, mapped.

        Raises:
            CompressionError: something could not be written.
        """
        if self._failed is not None:
            raise self._failed
        with disk_errors(self._folder, _AGAIN, every=True):
            self.close()
            if not self._layout.shard_of:
                return self._in_memory
            source = SafetensorsSource(self._folder, "")
            return {name: source.read(name) for name in self._layout.shard_of} | self._in_memory

    def close(self) -> None:
        """Every file."""
        while self._files:
            self._files.popitem()[1].close()


@contextlib.contextmanager
def _written(tensors: Mapping[str, Tensor], folder: Path) -> Iterator[_Files]:
    """Files with room for all tensors; they are removed when the block ends."""
    infos = {
        name: TensorInfo(dtype=tensor.dtype, shape=tuple(full_shape(tensor)))
        for name, tensor in tensors.items()
        if tensor.dtype in SAFETENSORS_NAMES
    }
    layout = lay_out(infos, _FILE_BYTES, {})
    refuse_link(folder)
    with held(folder, folder):
        _empty(folder)  # what a killed process left
        try:
            with disk_errors(folder, _AGAIN, every=True):
                require_space(folder, sum(shard.num_bytes for shard in layout.shards))
                files = _Files(folder, layout)
            try:
                yield files
            finally:
                with contextlib.suppress(OSError):
                    files.close()
        finally:
            _empty(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()


def _empty(folder: Path) -> None:
    """Remove what can be; a network file system keeps a mapped file, under another name, until nobody has it any more."""
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            entry.unlink()
