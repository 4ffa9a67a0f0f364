"""Each member on what the sum of those before it leaves over."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.jobs.train_ensemble.diversity import RESULT, Diversity, Plain, check_number, with_training


@dataclass(frozen=True, kw_only=True)
class Boosting(Diversity, name="boosting"):
    """Member k is trained with the loss of F_{k-1} + f_k, where F_{k-1} = step_size * sum_{j<k} f_j is frozen.

    The ensemble is a sum, whose step sizes are searched on validation rows, member by member, or given (`ensemble.fusion`).
    Each member has a training.seed of its own.

    Source: Friedman (2001); of networks Badirli et al. (2020), https://arxiv.org/abs/2002.07971.

    Attributes:
        num_members: how many.
        step_size: what earlier members' logits are multiplied by while the next one is trained.
    """

    one_by_one: ClassVar[bool] = True
    fusion: ClassVar[str | None] = "residual"
    reference: ClassVar[Reference | None] = Reference(
        authors="Friedman",
        title="Greedy Function Approximation: A Gradient Boosting Machine",
        year=2001,
        link="https://doi.org/10.1214/aos/1013203451",
        equation="algorithm 1",
    )

    num_members: int = 3
    step_size: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.num_members)
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise CompressionError(f"step_size={self.step_size} must be a finite number above 0")

    def recipes(self, base: Plain, seed: int, planned_steps: Callable[[], int]) -> dict[str, Plain]:
        """The base recipe with those that are earlier, by their names; their folders are filled in when they are known."""
        names = [f"stage-{number}" for number in range(1, self.num_members + 1)]
        return {
            name: with_training({**base, "residual": {"step_size": self.step_size}}, seed=seed + place)
            for place, name in enumerate(names)
        }

    def placed(self, recipes: dict[str, Plain], place: str) -> dict[str, Plain]:
        """With the folders of those before each."""
        done: list[str] = []
        found: dict[str, Plain] = {}
        for name, plain in recipes.items():
            residual: dict[str, Any] = {**plain["residual"], "earlier": list(done)}
            found[name] = {**plain, "residual": residual}
            done.append(f"{place}/{name}/{RESULT}")
        return found
