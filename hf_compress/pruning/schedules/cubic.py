"""The cubic schedule of gradual magnitude pruning."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress._registry import Reference
from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Cubic(Schedule, name="cubic"):
    """s(t) = final + (initial - final) * (1 - (t - begin) / (end - begin))^3.

    Fast while there is much to spare, slow near the end. Source: Zhu and Gupta 2017, equation 1.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Zhu, Gupta",
        title="To prune, or not to prune: exploring the efficacy of pruning for model compression",
        year=2017,
        link="https://arxiv.org/abs/1710.01878",
        equation="equation 1",
    )

    def progress(self, fraction: float) -> float:
        """1 - (1 - fraction)^3."""
        return 1 - (1 - fraction) ** 3
