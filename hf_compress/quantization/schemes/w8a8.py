"""The scheme W8A8."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class W8A8(Scheme, name="W8A8"):
    """int8 weights, one scale per output channel; int8 activations, one dynamic scale per token."""

    preset: ClassVar[str] = "W8A8"
