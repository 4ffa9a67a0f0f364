"""Reading what is on disk without loading it: names, shapes and bytes from safetensors headers."""

import dataclasses
import json
import math
import struct
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open

from hf_compress._errors import CompressionError, reason_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""What save_pretrained calls the weights, and the list of their parts."""

_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


OWN_OF_ENSEMBLE = "ensemble.safetensors"
"""What an ensemble calls the weights that are no member's."""
_LONGEST_NAME = 1000
_LARGEST_HEADER = 100_000_000
"""safetensors' own limit."""


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
    """The safetensors files of the checkpoint in `folder`, sorted: those that transformers would load.

    That is model.safetensors, else what the index names, else, for other names, all files but those of an adapter: what
    else lies in the folder (another library's copy of the weights, an adapter) is no part of the checkpoint. An ensemble's
    are those of its members, and what is no member's.

    Raises:
        CompressionError: the index cannot be read, or names a file that is not there.
    """
    folder = Path(folder)
    members = member_folders(folder)
    if members:
        own = [folder / OWN_OF_ENSEMBLE] if (folder / OWN_OF_ENSEMBLE).is_file() else []
        return [*own, *[file for member in members for file in weight_files(member)]]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return indexed_files(folder / INDEX)
    return sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_"))


def member_folders(folder: Path) -> list[Path]:
    """Where the members of the ensemble in `folder` lie, in order; [] for any other checkpoint."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    members = config.get("members") if isinstance(config, dict) else None
    if not isinstance(members, list):
        return []
    names = [member.get("folder") for member in members if isinstance(member, dict)]
    return [folder / name for name in names if isinstance(name, str) and Path(name).name == name]


def indexed_files(index: Path) -> list[Path]:
    """The files that an index names, sorted.

    Raises:
        CompressionError: it cannot be read, or names a file that is not there.
    """
    files = [index.parent / name for name in sorted(set(_weight_map(index).values()))]
    for file in files:
        if not file.is_file():
            raise CompressionError(f"{index} names {file.name}, which is not there; download or write the checkpoint again")
    return files


def read_entries(folder: Path) -> dict[str, Entry]:
    """Every tensor of the checkpoint in `folder`, from the headers alone.

    Raises:
        CompressionError: there is no safetensors file, one is truncated or damaged, or two have the same tensor.
    """
    folder = Path(folder)
    files = weight_files(folder)
    if not files:
        raise CompressionError(f"{folder} holds no .safetensors file; save the model with save_pretrained first")
    entries: dict[str, Entry] = {}
    for file in files:
        for name, entry in _read_file(file).items():
            if name in entries:
                raise CompressionError(
                    f"{name} is in {entries[name].file.name} and in {file.name} of {folder}; remove the file that is not"
                    " part of the checkpoint"
                )
            entries[name] = entry
    if files != [folder / SINGLE] and (folder / INDEX).is_file():
        for name, named in _weight_map(folder / INDEX).items():
            if name not in entries:
                raise CompressionError(
                    f"{folder / INDEX}: {name} should be in {named} and is not; download or write the checkpoint again"
                )
    return entries


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if all(isinstance(file, str) and Path(file).name == file for file in weight_map.values()):
            return dict(weight_map)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise CompressionError(f"{index} is not an index of weight files; download or write it again")


def _read_file(file: Path) -> dict[str, Entry]:
    try:
        size, stream = file.stat().st_size, file.open("rb")
    except OSError as error:
        raise CompressionError(f"{file} cannot be read: {error.strerror}; make it readable, or write it again") from error
    with stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise CompressionError(f"{file} is truncated: its header is cut off; write or download it again")
        if length > _LARGEST_HEADER:
            _damaged(file, f"its header has {length} bytes, and {_LARGEST_HEADER} is the most")
        text = stream.read(length)
    header = _header(file, text)
    metadata = header.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(each, str) for each in metadata.values())
    ):
        _damaged(file, "its __metadata__ is not a mapping from text to text")
    entries = {name: _entry(file, name, entry, size - 8 - length) for name, entry in header.items()}
    position = 0
    for begin, end, name in sorted((*header[name]["data_offsets"], name) for name in entries):
        if begin != position:
            _damaged(file, f"{name} {'overlaps another tensor' if begin < position else 'begins behind a gap'}")
        position = end
    if position != size - 8 - length:
        _damaged(file, f"{size - 8 - length - position} bytes behind the last tensor belong to none")
    return entries


def _header(file: Path, text: bytes) -> dict[str, Any]:
    """The header as safetensors reads it: one mapping in UTF-8, without NaN and without bytes before it."""

    def no_number(constant: str) -> NoReturn:
        _damaged(file, f"{constant} stands in its header")

    try:
        header = json.loads(
            text.decode("utf-8"), object_pairs_hook=lambda pairs: _unique(file, pairs), parse_constant=no_number
        )
        json.dumps(header, ensure_ascii=False).encode("utf-8")  # half a character passes json
    except (ValueError, RecursionError) as error:
        if isinstance(error, CompressionError):
            raise
        _damaged(file, "its header is not valid JSON")
    if not isinstance(header, dict) or text[:1] != b"{":
        _damaged(file, "its header is not a mapping")
    return header


def open_safetensors(file: Path) -> Any:
    """The file, memory-mapped, for `get_tensor`.

    Raises:
        CompressionError: it is damaged, or safetensors cannot read it.
    """
    _read_file(file)
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        reason = reason_of(error, 200)
        raise CompressionError(f"{file} cannot be read: {reason}; write or download it again") from error


def _entry(file: Path, name: str, entry: Any, data_bytes: int) -> Entry:
    """One tensor's line of the header, checked."""
    if len(name) > _LONGEST_NAME:
        _damaged(file, f"the name {name[:40]}... in its header has {len(name)} letters")
    try:
        begin, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], tuple(entry["shape"])
    except (TypeError, KeyError, ValueError):
        _damaged(file, f"the header says nothing usable of {name}")
    if not isinstance(dtype, str) or not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
        _damaged(file, f"the header says nothing usable of {name}")
    if math.prod(size or 1 for size in shape) >= 2**63:
        _damaged(file, f"{name} is {dtype} {list(shape)}, more than any file holds")
    if end > data_bytes:
        raise CompressionError(f"{file} is truncated: {name} ends after the file; write or download it again")
    item = _ITEM_BYTES.get(dtype)
    if end < begin or (item is not None and math.prod(shape) * item != end - begin):
        _damaged(file, f"{name} is {dtype} {list(shape)}, and {end - begin} bytes are set aside for it")
    return Entry(file=file, dtype=dtype, shape=shape, num_bytes=end - begin)


def _unique(file: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _damaged(file, f"{key} stands twice in its header")
        found[key] = value
    return found


def _damaged(file: Path, what: str) -> NoReturn:
    raise CompressionError(f"{file} is damaged: {what}; write or download it again")
