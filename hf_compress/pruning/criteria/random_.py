"""Chance."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class Random(Criterion, name="random"):
    """score ~ U[0, 1), drawn from the seed and the layer's name: the same every time, on every device and process.

    What every other criterion has to beat.

    Attributes:
        seed: of the draw, in [0, 2**32).
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise CompressionError(f"seed={self.seed} must lie between 0 and 2**32 - 1")

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32, as of a layer without a name."""
        return self.score_layer("", weight, stats)

    def score_layer(self, layer: str, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """The same, for the layer of a name."""
        # A generator of the CPU looks at 32 bits of its seed.
        key = hashlib.sha256(f"{self.seed} {layer}".encode()).digest()[:4]
        generator = torch.Generator().manual_seed(int.from_bytes(key, "big"))
        return torch.rand(weight.shape, generator=generator).to(weight.device)
