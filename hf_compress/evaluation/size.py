"""What a checkpoint weighs, read from its safetensors headers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_compress._safetensors import Entry, member_folders, open_safetensors, read_entries
from hf_compress.checkpoints.weight_files import stored_files

_MARKERS = ("weight_packed", "weight_scale")
_COUNTED = ("quantized_bytes", "quantized_bf16_bytes")
_PARTS = ("weight", "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_global_scale")


def measure_size(folder: str | Path, files: Sequence[Path] | None = None) -> dict[str, Any]:
    """Bytes on disk, and what the quantized layers among them would weigh in bf16.

    Args:
        folder: a checkpoint folder; of an ensemble the members are added up.
        files: the files that hold the weights, by default `stored_files`; quantized layers are told apart in safetensors
            alone.

    Returns:
        file_bytes: all weight files, headers included. quantized_bytes: everything stored for the weights of quantized
        layers (packed values, scales, shapes). quantized_bf16_bytes: the same weights at 2 bytes each. num_quantized: how
        many layers. quantized_ratio: the quotient of the two, None without quantized layers.
    """
    path = Path(folder)
    members = [measure_size(member) for member in member_folders(path)]
    if members:
        found = {key: sum(member[key] for member in members) for key in ("num_quantized", *_COUNTED)}
        return _sized(sum(file.stat().st_size for file in stored_files(path)), found)
    files = stored_files(path) if files is None else files
    entries = read_entries(path) if all(file.suffix == ".safetensors" for file in files) else {}
    layers = sorted({name.rsplit(".", 1)[0] for name in entries if name.rsplit(".", 1)[-1] in _MARKERS})
    stored, dense = 0, 0
    for layer in layers:
        stored += sum(entries[f"{layer}.{part}"].num_bytes for part in _PARTS if f"{layer}.{part}" in entries)
        dense += 2 * math.prod(packed_shape(layer, entries))
    found = {"num_quantized": len(layers), "quantized_bytes": stored, "quantized_bf16_bytes": dense}
    return _sized(sum(file.stat().st_size for file in files), found)


def _sized(file_bytes: int, found: Mapping[str, int]) -> dict[str, Any]:
    stored, dense = (found[key] for key in _COUNTED)
    return {"file_bytes": file_bytes, **found, "quantized_ratio": stored / dense if dense else None}


def packed_shape(layer: str, entries: Mapping[str, Entry]) -> tuple[int, ...]:
    """(O, I) of a quantized layer: of its weight, or as `weight_shape` says where it is packed."""
    if f"{layer}.weight" in entries:
        return entries[f"{layer}.weight"].shape
    entry = entries[f"{layer}.weight_shape"]
    with open_safetensors(entry.file) as file:
        return tuple(int(size) for size in file.get_tensor(f"{layer}.weight_shape"))
