"""The scheme W4A8."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class W4A8(Scheme, name="W4A8"):
    """int4 weights, one scale per group of 128 (or `group_size`); int8 activations, one dynamic scale per token."""

    preset: ClassVar[str] = "W4A8"
