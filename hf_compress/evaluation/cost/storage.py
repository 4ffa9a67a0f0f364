"""Bytes on disk by kind of tensor, from safetensors headers."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hf_compress._safetensors import Entry, weight_files
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source
from hf_compress.evaluation.size import packed_shape

_SCALES = tuple(
    f"{part}_{what}" for part in ("weight", "input", "output", "k", "v") for what in ("scale", "global_scale", "zero_point")
)
BESIDE = {
    **{name: "zero points" if name.endswith("zero_point") else "scales" for name in _SCALES},
    "weight_shape": "shapes and orders",
    "weight_g_idx": "shapes and orders",
}
"""What compressed-tensors stores beside a quantized weight: last part of the name -> kind."""
PACKED = "weight_packed"


def measure_storage(folder: Path, source: Source, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """What the weight files hold, by kind.

    Args:
        folder: a checkpoint.
        source: the same, opened.
        entries: its tensors by name.

    Returns:
        file_bytes: all weight files. by_kind: kind -> bytes, largest first; "headers" is what is no tensor. num_weights:
        entries of the weights that the tensors stand for, dense ones and those that are packed or rounded; what a scheme
        stores beside them does not count, a tied weight counts as often as it is stored. bits_per_weight: 8 x bytes of all
        tensors / num_weights.
    """
    embeddings = _embeddings(source)
    kinds: Counter[str] = Counter()
    num_weights = 0
    for name, entry in entries.items():
        layer, _, last = name.rpartition(".")
        kind = BESIDE.get(last)
        if last == PACKED:
            kind, num_weights = "packed weights", num_weights + math.prod(packed_shape(layer, entries))
        elif kind is None:
            kind, num_weights = _kind(name, layer, entry, entries, embeddings), num_weights + math.prod(entry.shape)
        kinds[kind] += entry.num_bytes
    tensors = sum(kinds.values())
    file_bytes = sum(file.stat().st_size for file in weight_files(folder))
    kinds["headers"] = file_bytes - tensors
    return {
        "file_bytes": file_bytes,
        "by_kind": dict(kinds.most_common()),
        "num_weights": num_weights,
        "bits_per_weight": 8 * tensors / num_weights if num_weights else None,
    }


def _kind(name: str, layer: str, entry: Entry, entries: Mapping[str, Entry], embeddings: frozenset[str]) -> str:
    if f"{layer}.weight_scale" in entries and name == f"{layer}.weight":
        return "rounded weights"
    if name in embeddings:
        return "embeddings"
    return "dense weights" if len(entry.shape) > 1 else "biases and norms"


def _embeddings(source: Source) -> frozenset[str]:
    """The stored tensors that are tables of embeddings, by the checkpoint's own class; a head tied to one is one."""
    names = ModelNames(source.config, source.infos, source.place)
    if names.model is None:
        return frozenset()
    tables = [f"{name}.weight" for name, module in names.model.named_modules() if isinstance(module, nn.Embedding)]
    return frozenset(names.tensor_of[table] for table in tables if table in names.tensor_of)
