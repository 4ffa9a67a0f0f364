"""The contract of a diversity: how members of an ensemble, trained from one recipe, come to differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy

Plain = dict[str, Any]
RESULT = "compressed"
"""Where `job: train` leaves a finished model in its folder."""
FEWEST, MOST = 2, 1000


@dataclass(frozen=True, kw_only=True)
class Diversity(Strategy, kind="diversity", package="hf_compress.jobs.train_ensemble.diversities"):
    """Makes the recipes of an ensemble's members out of one.

    Attributes:
        open_alike: data and models of all members are the same, so that looking at the first is enough.
        one_by_one: a member goes on from what the one before it has left, so that no two are trained at a time.
        fusion: of the ensemble, where members are made for one; None: that of the recipe.
    """

    open_alike: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False
    fusion: ClassVar[str | None] = None

    def recipes(self, base: Plain, seed: int, planned_steps: Callable[[], int]) -> dict[str, Plain]:
        """What each member's recipe says.

        Args:
            base: the recipe that all share, of a job `train-member`, without `training.output_dir`; not changed.
            seed: its training.seed.
            planned_steps: how many optimizer steps it would train, which opens data and model.

        Returns:
            Name -> recipe, in the order in which they are trained.

        Raises:
            CompressionError: no members can be made of it.
        """
        raise TypeError(f"{type(self).__name__} defines no recipes()")

    def placed(self, recipes: dict[str, Plain], place: str) -> dict[str, Plain]:
        """The recipes with what depends on where members lie; by default as they are.

        Args:
            recipes: from `recipes`.
            place: gets a folder for each, of its name.
        """
        return recipes

    def begin(self, name: str, folders: Mapping[str, Path], recipe: Any) -> None:
        """Where a way has something to put into a member's folder before it is trained, or goes on being trained.

        Args:
            name: of the member.
            folders: of all members, in their order; those before this one are finished.
            recipe: the member's.
        """


def check_number(num_members: int, named: str = "num_members={}") -> None:
    """Refuse what is no ensemble, or more than anybody trains: every member's recipe is made before the first is trained.

    Args:
        num_members: their number.
        named: how the recipe says it.

    Raises:
        CompressionError: fewer than two, or more than a thousand.
    """
    if num_members < FEWEST:
        raise CompressionError(f"{named.format(num_members)} must be {FEWEST} or more; one model by itself is `job: train`")
    if num_members > MOST:
        raise CompressionError(f"{named.format(num_members)} must be {MOST} or fewer")


def with_training(base: Plain, **changes: Any) -> Plain:
    """The recipe with other TrainingArguments."""
    return {**base, "training": {**base.get("training", {}), **changes}}
