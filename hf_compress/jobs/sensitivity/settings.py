"""The sensitivity recipe as a value; the job that it asks for is in `recipe.py`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.coverage import coverage
from hf_compress._modules.ignored import say_unmatched
from hf_compress._modules.matching import Selection
from hf_compress.calibration.configuration import Calibration
from hf_compress.evaluation.model_evaluation import rows_that_end, some_seed
from hf_compress.inputs.place import place
from hf_compress.inputs.sections import Data
from hf_compress.pruning.allocations.uniform import Uniform
from hf_compress.pruning.fit import check_fit, chosen
from hf_compress.pruning.one_shot import OneShotPruning, in_its_words
from hf_compress.pruning.sensitivity import GroupedBy, groups_of
from hf_compress.pruning.statistics import require_calibration
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.opened import Opened, inputs
from hf_compress.tasks.task import Task, check_count

GRID = (0.3, 0.5, 0.7, 0.9)
"""Where the recipe says no sparsities."""


def alone() -> None:
    """Nothing of it is shared out, and several processes would write into one folder."""
    _distributed.refuse_several("sensitivity")


def a_batch(batch_size: int) -> None:
    """A batch has examples."""
    check_count(batch_size, "batch_size")


def found_here(pruning: OneShotPruning) -> None:
    """What the job is to find is not asked for, and there is something to go through."""
    if not isinstance(pruning.allocation, Uniform):
        raise CompressionError(f"pruning.allocation: it is what this job looks for; leave {pruning.allocation.name} out")
    if pruning.criterion.cut is not None:
        raise CompressionError(
            f"pruning.criterion: {pruning.criterion.name} makes a sparsity of its own, and this job goes through several;"
            " take another criterion"
        )


def some_sparsities(pruning: OneShotPruning, sparsities: Sequence[float] | None) -> None:
    """Sparsities that the pattern can have, and that reach what is asked for."""
    if not pruning.sparsity > 0:
        raise CompressionError(
            "pruning.sparsity: 0 prunes nothing; write the overall one for which an allocation is wanted"
        )
    for number, sparsity in enumerate(sparsities or ()):
        if not 0 < sparsity < 1 or f"{sparsity:g}" in [f"{one:g}" for one in (sparsities or ())[:number]]:
            raise CompressionError(f"sparsities.{number}: {sparsity:g} must lie between 0 and 1, and stand once")
        with in_its_words():
            pruning.pattern.check(sparsity)
    if sparsities is not None and (not sparsities or max(sparsities) < pruning.sparsity):
        raise CompressionError(
            f"sparsities: none is as high as pruning.sparsity={pruning.sparsity:g}, for which an allocation is looked for;"
            " add a higher one"
        )


def examples_for_it(pruning: OneShotPruning, calibration: Calibration | None) -> None:
    """Examples for a criterion that sees data."""
    require_calibration(pruning, calibration)


def grid_of(pruning: OneShotPruning, sparsities: Sequence[float] | None) -> tuple[float, ...]:
    """Every sparsity that is measured, rising."""
    if sparsities is not None:
        return tuple(sorted(sparsities))
    return tuple(sorted({*GRID, pruning.sparsity})) if pruning.pattern.any_sparsity else (pruning.sparsity,)


def layers(inputs: Opened, pruning: OneShotPruning, sparsities: Sequence[float] | None) -> Selection:
    """What is pruned: targets that are there, and into which the pattern fits at every sparsity."""
    assert inputs.skeleton is not None
    selection = chosen(inputs.skeleton, pruning)
    say_unmatched(inputs.skeleton, pruning.ignore, "pruning")
    for sparsity in grid_of(pruning, sparsities):
        if not 0 < sparsity < 1 or pruning.criterion.cut is not None:
            continue  # refused by a check
        try:
            with in_its_words():
                check_fit(selection.modules, dataclasses.replace(pruning, sparsity=sparsity))
        except CompressionError as error:
            if sparsities is not None or sparsity == pruning.sparsity:
                raise
            raise CompressionError(
                f"sparsities: of the default ones {sparsity:g} does not fit: {error}; or write sparsities"
            ) from error
    return selection


@dataclass(frozen=True, kw_only=True)
class SensitivitySettings(Recipe):
    """What a sensitivity recipe says: which layers are pruned one at a time, how far, and what is measured then.

    Attributes:
        model: a folder or Hub id.
        task: what the model is for, with the columns it reads.
        data: where rows come from: validation rows are measured, `max_eval` of them at most; test rows compare the
            allocation that is found; training rows are looked at by criteria that see data.
        pruning: criterion, pattern and targets; `sparsity` is the overall one for which an allocation is looked for.
        sparsities: that every layer is pruned to; by default 0.3, 0.5, 0.7, 0.9 and the overall one.
        group: what is pruned at a time: each "module", each "block", or all layers of one "name" in all blocks.
        calibration: which training examples are looked at.
        batch_size: examples at once, where it is measured.
        output_dir: the new folder.
        seed: of splits that are cut.
    """

    model: str
    task: Task
    data: Data
    pruning: OneShotPruning
    sparsities: tuple[float, ...] | None = None
    group: GroupedBy = "module"
    calibration: Calibration | None = None
    batch_size: int = 16
    output_dir: str
    seed: int = 0

    checks = (alone, rows_that_end, some_seed, a_batch, found_here, some_sparsities, examples_for_it)
    opens = (place, inputs, layers)
    after_interruption = "the same command goes on"

    @property
    def grid(self) -> tuple[float, ...]:
        """Every sparsity that is measured, rising."""
        return grid_of(self.pruning, self.sparsities)

    def preview(self) -> str:
        """Which modules, and how often the model is measured."""
        found = self.open()
        opened, selection = found["inputs"], found["layers"]
        reached = coverage(opened.skeleton, selection.modules, selection.left_out).sentence("prunes one at a time")
        groups, rows = len(groups_of(selection.modules, self.group)), len(opened.examples["validation"])
        return (
            f"{reached}\n{groups} groups (by {self.group}) x {len(self.grid)} sparsities: {groups * len(self.grid)}"
            f" measurements of {rows:,} validation {opened.task.unit} each"
        )
