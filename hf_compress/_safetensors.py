"""Reading what is on disk without loading it: names, shapes and bytes from safetensors headers."""

import dataclasses
import json
import struct
from pathlib import Path

from hf_compress._errors import CompressionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor of a file's header.

    Attributes:
        file: the file it is in.
        dtype: safetensors' name, e.g. "BF16".
        shape: its dimensions.
        num_bytes: its size in the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder, sorted."""
    return sorted(Path(folder).glob("*.safetensors"))


def read_entries(folder: Path) -> dict[str, Entry]:
    """Every tensor of the checkpoint in `folder`, from the headers alone.

    Raises:
        CompressionError: there is no safetensors file, or one is truncated.
    """
    files = weight_files(folder)
    if not files:
        raise CompressionError(f"{folder} holds no .safetensors file; save the model with save_pretrained first")
    entries: dict[str, Entry] = {}
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if 8 + length > size:
                raise CompressionError(f"{file} is truncated: its header is cut off; write or download it again")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            if 8 + length + end > size:
                raise CompressionError(f"{file} is truncated: {name} ends after the file; write or download it again")
            entries[name] = Entry(file=file, dtype=entry["dtype"], shape=tuple(entry["shape"]), num_bytes=end - begin)
    return entries
