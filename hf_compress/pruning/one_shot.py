"""Pruning at once, as a value: what a recipe says that trains nothing."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress._units import check_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.schedule import Schedule
from hf_compress.pruning.schedules.constant import Constant


@dataclass(frozen=True, kw_only=True)
class OneShotPruning(Pruning):
    """A `Pruning` without a schedule: all of `sparsity` at once.

    Attributes:
        schedule: that of the sparsity, and nothing of its own.
        masks: "scored"; zeros that are there stay whatever is asked for.
        sparsity: share of zeros in [0, 1); a criterion with a value of its own makes another.
    """

    schedule: Schedule = field(init=False, default_factory=Constant)
    masks: Literal["scored", "from_zeros"] = field(init=False, default="scored")
    sparsity: float = 0.5

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, "sparsity")
        object.__setattr__(self, "schedule", Constant(final=self.sparsity))
        if self.criterion.accumulates:
            raise CompressionError(
                f"the criterion {self.criterion.name} scores by what gradients add up to over the steps of a training, and"
                " here nothing is trained; use it in a job `train`, or prune by another criterion"
            )
        with in_its_words():
            super().__post_init__()

    @classmethod
    def refused_key(cls, key: str, value: Any) -> str | None:
        """What is said about what only a training has; None for any other key."""
        if key == "masks":
            return "nothing is trained here, and zeros that are there stay by themselves; leave it out"
        if key != "schedule":
            return None
        final = value.get("final") if isinstance(value, dict) else None
        return f"nothing is trained here, so there is no schedule; write sparsity: {0.5 if final is None else final}"


@contextlib.contextmanager
def in_its_words() -> Iterator[None]:
    """What is refused of a schedule's end is refused of the sparsity, which is the key that a recipe has."""
    try:
        yield
    except CompressionError as error:
        said = (
            str(error)
            .replace("the schedule ends at", "sparsity is")
            .replace("schedule.final and schedule.initial", "sparsity")
            .replace("schedule.final", "sparsity")
        )
        raise CompressionError(said) from error
