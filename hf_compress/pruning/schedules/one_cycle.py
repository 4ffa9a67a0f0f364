"""One cycle of pruning: slow, fast, slow."""

import math
from dataclasses import dataclass
from typing import ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule, name="one_cycle"):
    """s(x) = initial + (final - initial) * (1 + e^(beta - alpha)) / (1 + e^(beta - alpha * x)), x from 0 to 1.

    A logistic curve that reaches `final` exactly; at `begin` it stands a little above `initial`. The published method
    prunes from the first step to the last, which is begin: 0%, end: 100%.

    Attributes:
        alpha: how steep the curve is, above 0.
        beta: where it is steepest: at beta / alpha of the way.

    Source: Hubens et al. 2021, one-cycle pruning, with alpha = 14 and beta = 5.
    """

    alpha: float = 14.0
    beta: float = 5.0

    reference: ClassVar[Reference | None] = Reference(
        authors="Hubens, Mancas, Gosselin, Preda, Zaharia",
        title="One-Cycle Pruning: Pruning ConvNets Under a Tight Training Budget",
        year=2021,
        link="https://arxiv.org/abs/2107.02086",
        equation="one-cycle pruning",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.alpha <= 500 and abs(self.beta) <= 500):
            raise CompressionError(
                f"alpha={self.alpha:g}, beta={self.beta:g} make no curve that rises; write alpha above 0, and neither"
                " beyond 500, e.g. alpha=14, beta=5"
            )

    def progress(self, fraction: float) -> float:
        """(1 + e^(beta - alpha)) / (1 + e^(beta - alpha * fraction))."""
        return (1 + math.exp(self.beta - self.alpha)) / (1 + math.exp(self.beta - self.alpha * fraction))
