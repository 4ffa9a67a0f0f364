"""Half a wave of the cosine."""

import math
from dataclasses import dataclass
from typing import ClassVar

from hf_compress._registry import Reference
from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule, name="cosine"):
    """s(t) = final + (initial - final) * (1 + cos(pi * (t - begin) / (end - begin))) / 2.

    Slow at both ends and fast in the middle. Source: Loshchilov and Hutter 2017, equation 5: their annealing, of a
    sparsity in the place of a learning rate.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Loshchilov, Hutter",
        title="SGDR: Stochastic Gradient Descent with Warm Restarts",
        year=2017,
        link="https://arxiv.org/abs/1608.03983",
        equation="equation 5",
    )

    def progress(self, fraction: float) -> float:
        """(1 - cos(pi * fraction)) / 2."""
        return (1 - math.cos(math.pi * fraction)) / 2
