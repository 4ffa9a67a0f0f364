"""The scheme FP8_DYNAMIC."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class FP8Dynamic(Scheme, name="FP8_DYNAMIC"):
    """float8 (E4M3) weights, one scale per output channel; float8 activations, one dynamic scale per token."""

    preset: ClassVar[str] = "FP8_DYNAMIC"
