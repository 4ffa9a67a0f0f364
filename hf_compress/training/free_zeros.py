"""Zeros that no mask holds, as text inside a checkpoint's sidecar.

Masks are not stored, because they are the zeros of the weights. Where weights are zero and not pruned (a layer that starts
at zero, weights that came to be zero by themselves), the zeros alone would say too much, so these few are written down.
"""

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_compress._errors import CompressionError


def write_free_zeros(free: Mapping[str, Tensor]) -> dict[str, Any]:
    """Masks as JSON: shape, and one bit per weight, compressed; scattered or regular, they take next to no room.

    Args:
        free: (O, I) bool by layer, True = zero and free.
    """
    return {name: {"shape": list(mask.shape), "bits": _pack(mask)} for name, mask in free.items()}


def _pack(mask: Tensor) -> str:
    bits = np.packbits(mask.cpu().numpy().reshape(-1))
    return base64.b64encode(zlib.compress(bits.tobytes())).decode("ascii")


def read_free_zeros(written: Any) -> dict[str, Tensor]:
    """The inverse of `write_free_zeros`.

    Raises:
        CompressionError: what is written cannot be read.
    """
    try:
        return {name: _unpack(entry["shape"], entry["bits"]) for name, entry in written.items()}
    except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise CompressionError(
            "compression.json: the zeros that are not pruned (progress.free_zeros) cannot be read; resume from an earlier"
            " checkpoint"
        ) from error


def _unpack(shape: list[int], text: str) -> Tensor:
    count = math.prod(shape)
    num_bytes = (count + 7) // 8
    packed = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), num_bytes)
    if len(packed) != num_bytes:
        raise ValueError("bits are missing")
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count)
    return torch.from_numpy(bits.astype(bool)).view(*shape)
