"""The same training several times, each with random numbers of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from hf_compress._registry import Reference
from hf_compress.jobs.train_ensemble.diversity import Diversity, Plain, check_number, with_training


@dataclass(frozen=True, kw_only=True)
class Seeds(Diversity, name="seeds"):
    """Member m is trained with training.seed + m: fresh weights, dropout and the order of rows are its own.

    Source: Lakshminarayanan, Pritzel, Blundell (2017), section 2.4.

    Attributes:
        num_members: how many.
        initialisation: False: all have training.seed, and so the same fresh weights (a new head's too) and dropout, and
            only the order of rows differs (training.data_seed).
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Lakshminarayanan, Pritzel, Blundell",
        title="Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
        year=2017,
        link="https://arxiv.org/abs/1612.01474",
        equation="section 2.4",
    )

    num_members: int = 5
    initialisation: bool = True

    def __post_init__(self) -> None:
        check_number(self.num_members)

    def recipes(self, base: Plain, seed: int, planned_steps: Callable[[], int]) -> dict[str, Plain]:
        """The base recipe with one seed each."""
        return {f"seed-{own}": with_training(base, **self.changes(own)) for own in range(seed, seed + self.num_members)}

    def changes(self, seed: int) -> dict[str, int]:
        """TrainingArguments of the member with this seed."""
        return {"seed": seed} if self.initialisation else {"data_seed": seed}
