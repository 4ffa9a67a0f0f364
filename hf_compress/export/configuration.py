"""How results are written."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the result is written.

    Attributes:
        format: auto = compressed-tensors where something is quantized, else dense safetensors.
        dtype: the type of everything that is not quantized.
    """

    format: Literal["auto", "compressed-tensors", "dense"] = "auto"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
