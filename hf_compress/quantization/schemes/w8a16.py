"""The scheme W8A16."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class W8A16(Scheme, name="W8A16"):
    """int8 weights, one scale per group of 128 (or `group_size`) along I; activations stay as they are."""

    preset: ClassVar[str] = "W8A16"
