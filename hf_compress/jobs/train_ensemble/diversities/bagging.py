"""Each member on rows of its own, drawn with replacement."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from hf_compress._registry import Reference
from hf_compress.jobs.train_ensemble.diversities.seeds import Seeds
from hf_compress.jobs.train_ensemble.diversity import Plain, with_training


@dataclass(frozen=True, kw_only=True)
class Bagging(Seeds, name="bagging"):
    """Each member sees a bootstrap sample: as many training examples as there are, drawn with replacement.

    About 63 % of the examples are in a sample, some of them several times; the report of each member says how many are out
    of its bag. Random numbers of the training differ as under `seeds`.

    Source: Breiman (1996).
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Breiman", title="Bagging Predictors", year=1996, link="https://doi.org/10.1007/BF00058655"
    )

    def recipes(self, base: Plain, seed: int, planned_steps: Callable[[], int]) -> dict[str, Plain]:
        """The base recipe with one seed and one sample each."""
        return {
            f"bag-{own}": with_training({**base, "bootstrap": own}, **self.changes(own))
            for own in range(seed, seed + self.num_members)
        }
