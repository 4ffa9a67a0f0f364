"""Members one after the other or several at a time, then the ensemble of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.jobs.train_ensemble.diversity import RESULT, Diversity
from hf_compress.jobs.train_ensemble.members import Member
from hf_compress.jobs.train_ensemble.run_folder import EnsembleFolder
from hf_compress.jobs.train_ensemble.workers import train_in_workers
from hf_compress.recipe.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainedEnsemble:
    """What the job left behind.

    Attributes:
        folder: the ensemble's.
        members: name -> folder of the finished member.
        ensemble: what `job: ensemble` gave; None where it had been made before.
    """

    folder: Path
    members: dict[str, Path]
    ensemble: Any

    def summary(self) -> str:
        """What the command line says at the end."""
        said = [f"model and card  {self.folder}"] if self.ensemble is None else [self.ensemble.summary()]
        return "\n".join([*said, *(f"member          {place}" for place in self.members.values())])


def results_of(members: Sequence[Member]) -> dict[str, Path]:
    """Name -> where the finished member lies, or will."""
    return {member.name: member.folder / RESULT for member in members}


def train_ensemble(
    members: Sequence[Member], diversity: Diversity, folder: EnsembleFolder, ensemble: dict[str, Any], workers: int
) -> TrainedEnsemble:
    """Train what is not finished, then make the ensemble, where it is not made.

    Args:
        members: found to be right.
        diversity: how they differ.
        folder: this run's, and held.
        ensemble: the recipe of the job `ensemble` for them, as plain data.
        workers: how many members are trained at a time, each in a process of its own; 1: in this one.

    Raises:
        CompressionError: a member cannot be trained, with its name, or the ensemble not be made.
    """
    results = results_of(members)
    if folder.ensemble.exists():
        logger.info("%s is finished; nothing to do", folder.path)
        return TrainedEnsemble(folder=folder.ensemble, members=results, ensemble=None)
    if workers > 1:
        train_in_workers(members, workers, folder.members)
    else:
        for number, member in enumerate(members):
            _train(member, f"member {number + 1} of {len(members)}", members, diversity)
    return TrainedEnsemble(folder=folder.ensemble, members=results, ensemble=Recipe.from_plain(ensemble).run())


def _train(member: Member, place: str, members: Sequence[Member], diversity: Diversity) -> None:
    """One member, from where it is."""
    logger.info("%s: %s", place, member.name)
    if not (member.folder / RESULT).exists():
        diversity.begin(member.name, {one.name: one.folder for one in members}, member.recipe)
    try:
        member.recipe.run(resume=True)
    except CompressionError as error:
        error.args = ("\n".join(f"members.{member.name}: {line}" for line in str(error).splitlines()),)
        raise
