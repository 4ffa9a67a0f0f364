"""When a compressed model is accepted, as numbers that a recipe can set."""

import math
from dataclasses import dataclass

from hf_compress._errors import CompressionError


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When a compressed model is accepted.

    Attributes:
        loss: share of the dense model's metric by which the result may be worse.
        gain: share by which it may be better: more is a sign that the dense model was not trained to its end, or that
            something is measured wrongly.
        size: bytes on disk / the dense model's, at most; None = whatever it is.
        sparsity: exact zeros of the pruned layers, at least; None = what the recipe prunes to.
    """

    loss: float = 0.05
    gain: float = 0.1
    size: float | None = None
    sparsity: float | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "gain", "size"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise CompressionError(
                    f"{name}={value} is a share of the dense model's; write 0 or more, e.g. 0.05 for 5 %"
                )
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise CompressionError(f"sparsity={self.sparsity} is a share of the weights; write 0 or more, and less than 1")

    def __str__(self) -> str:
        targets = [
            f"at most {self.loss:.3g} of the metric lost",
            f"at most {self.gain:.3g} gained",
            "any size" if self.size is None else f"at most {self.size:.3g} of the dense size",
            "any sparsity" if self.sparsity is None else f"sparsity {self.sparsity:.3g} or more",
        ]
        return ", ".join(targets)
