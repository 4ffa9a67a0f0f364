"""Bits and zeros of every matrix of a written checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path

from hf_compress._safetensors import Entry, open_safetensors, read_entries
from hf_compress.evaluation.rows import Layer

_BESIDE = ("weight_scale", "weight_shape", "weight_zero_point", "weight_global_scale", "weight_g_idx")


def measure_layers(folder: Path, sparsity: Mapping[str, float]) -> tuple[Layer, ...]:
    """The layers in the order of their names on disk, as they are read.

    Args:
        folder: a checkpoint in safetensors; of other formats nothing is known.
        sparsity: module name -> share of exact zeros, of those in which it is known.
    """
    if not any(folder.glob("*.safetensors")):
        return ()
    entries = read_entries(folder)
    found = []
    for name, entry in entries.items():
        layer, _, last = name.rpartition(".")
        if last == "weight_packed" or (last == "weight" and len(entry.shape) > 1):
            count = math.prod(_shape(layer, entry, entries))
            stored = entry.num_bytes + sum(
                entries[f"{layer}.{part}"].num_bytes for part in _BESIDE if f"{layer}.{part}" in entries
            )
            found.append(Layer(name=layer, num_weights=count, bits=8 * stored / count, sparsity=sparsity.get(layer)))
    return tuple(sorted(found, key=lambda layer: _natural(layer.name)))


def _shape(layer: str, entry: Entry, entries: Mapping[str, Entry]) -> tuple[int, ...]:
    """Of the weight, also where it is packed."""
    stored = entries.get(f"{layer}.weight_shape")
    if stored is None:
        return entry.shape
    with open_safetensors(stored.file) as file:
        return tuple(int(size) for size in file.get_tensor(f"{layer}.weight_shape"))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Layer 2 before layer 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]
