"""Several members are trained from one recipe, and become an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_compress import _distributed
from hf_compress._disk import disk_errors
from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, problems_in
from hf_compress.jobs.train_ensemble.diversity import Diversity
from hf_compress.jobs.train_ensemble.members import (
    Member,
    check_block,
    check_ensemble,
    check_graph,
    ensemble_plain,
    fused_block,
    plan_members,
    read_base,
)
from hf_compress.jobs.train_ensemble.run import TrainedEnsemble, results_of, train_ensemble
from hf_compress.jobs.train_ensemble.run_folder import EnsembleFolder
from hf_compress.recipe.recipe import Recipe

_AGAIN = "run the same command with --resume, it goes on with the member it was at"


def one_process() -> None:
    """Members are shared out over workers, each of which is a process of its own."""
    _distributed.refuse_several("train-ensemble (workers: N trains N members at a time)")


def some_workers(workers: int, diversity: Diversity) -> None:
    """A number of processes, where members can be trained side by side."""
    if workers < 1:
        raise CompressionError(f"workers={workers} must be 1 or more")
    if workers > 1 and diversity.one_by_one:
        raise CompressionError(
            f"workers={workers}: under {diversity.name} each member goes on from the one before it, so one is trained at a"
            " time; leave workers out"
        )


def base(train: str | dict[str, Any]) -> dict[str, Any]:
    """The recipe that members share."""
    return read_base(train)


def folder(output_dir: str) -> EnsembleFolder:
    """Where everything goes."""
    found = EnsembleFolder(output_dir)
    found.check_place()
    return found


def planned(
    base: dict[str, Any], folder: EnsembleFolder, diversity: Diversity, title: str | None = None
) -> Sequence[Member]:
    """Every member, opened."""
    return plan_members(base, diversity, folder.members, title or folder.path.name)


def block(base: dict[str, Any], ensemble: dict[str, Any], diversity: Diversity) -> dict[str, Any]:
    """What is said of the ensemble, whoever its members are."""
    found = fused_block(ensemble, diversity)
    check_block(found, base)
    return found


def together(planned: Sequence[Member], folder: EnsembleFolder, block: dict[str, Any]) -> dict[str, Any]:
    """The recipe of what becomes of them."""
    first = planned[0].recipe
    plain = ensemble_plain(block, results_of(planned), first.to_plain(), first.seed, str(folder.ensemble))
    check_ensemble(plain)
    check_graph(block, planned)
    return plain


@dataclass(frozen=True, kw_only=True)
class TrainEnsemble(Recipe, name="train-ensemble"):
    """Trains members that differ, and makes one model of them.

    Attributes:
        title: begins the titles of all reports; by default the folder's name.
        train: a recipe of the job `train` without training.output_dir, or the file of one; it may also compress nothing.
        diversity: how members differ, and how many there are.
        ensemble: keys of the job `ensemble`, such as combiner and fit.
        workers: how many members are trained at a time, each in a process of its own.
        output_dir: gets `members/<name>` and `ensemble`.
    """

    title: str | None = None
    train: str | dict[str, Any]
    diversity: Diversity
    ensemble: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    output_dir: str

    checks = (one_process, some_workers)
    opens = (base, folder, block, planned, together)

    def preflight(self) -> list[Problem]:
        """What a run refuses before it writes; where it was begun already, as if it was to go on."""
        return problems_in(lambda: self._found(resume=True))

    def _found(self, resume: bool) -> dict[str, Any]:
        """What was opened, and the recipe with the members' in it; a folder of another run is refused alone."""
        try:
            plain = {**self.to_plain(), "train": read_base(self.train)}
            place = EnsembleFolder(self.output_dir)
        except CompressionError:
            return self.open()  # which says it, and what else is wrong
        place.check_recipe(plain, resume)
        return {**self.open(), "plain": plain}

    def run(self, resume: bool = False) -> TrainedEnsemble:
        """Train the members, then ask, fit, write and measure the ensemble.

        Args:
            resume: go on with an interrupted run of the same recipe in its folder; a finished member is kept, and the one
                that was being trained goes on from its last checkpoint.
        """
        found = self._found(resume)
        place: EnsembleFolder = found["folder"]
        with disk_errors(place.path, _AGAIN), place.held():
            place.open(found["plain"])
            plain = found["together"]
            if self.title is not None:
                plain = {"title": self.title, **plain}
            return train_ensemble(found["planned"], self.diversity, place, plain, self.workers)
