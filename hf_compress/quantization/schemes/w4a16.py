"""The scheme W4A16."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class W4A16(Scheme, name="W4A16"):
    """int4 weights, one scale per group of 128 (or `group_size`) along I; activations stay as they are."""

    preset: ClassVar[str] = "W4A16"
