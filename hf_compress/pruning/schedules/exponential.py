"""The same share of what is left, at every move."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress._registry import Reference
from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule, name="exponential"):
    """1 - s(t) = (1 - initial) * ((1 - final) / (1 - initial))^((t - begin) / (end - begin)).

    The density falls exponentially: every move prunes the same share of the weights that are left, as iterative pruning
    does. Source: Frankle and Carbin 2019, section 1: each of n rounds prunes p^(1/n) of the weights that survive.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Frankle, Carbin",
        title="The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
        year=2019,
        link="https://arxiv.org/abs/1803.03635",
        equation="section 1",
    )

    def progress(self, fraction: float) -> float:
        """(1 - ratio^fraction) / (1 - ratio), with the ratio of the last density to the first."""
        ratio = (1 - self.final) / (1 - self.initial)
        return fraction if ratio == 1 else (1 - ratio**fraction) / (1 - ratio)
