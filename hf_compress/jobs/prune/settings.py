"""The prune recipe as a value, which everybody reads; the job that it asks for is in `recipe.py`."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.coverage import coverage
from hf_compress._modules.ignored import say_unmatched
from hf_compress._modules.matching import Selection
from hf_compress._problems import Problem
from hf_compress.calibration.configuration import Calibration
from hf_compress.evaluation.configuration import Evaluation, untrained
from hf_compress.evaluation.model_evaluation import rows_that_end, some_seed
from hf_compress.evaluation.task_metrics import check_metrics, metrics, metrics_for_task
from hf_compress.export.configuration import Export
from hf_compress.export.push import destination
from hf_compress.inputs.place import place
from hf_compress.inputs.sections import Data
from hf_compress.pruning.fit import check_fit, chosen
from hf_compress.pruning.in_order import check_in_order
from hf_compress.pruning.one_shot import OneShotPruning, in_its_words
from hf_compress.pruning.reconstruction import Reconstruction
from hf_compress.pruning.solver import Solver
from hf_compress.pruning.statistics import require_calibration
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.opened import Opened, inputs
from hf_compress.tasks.task import Task


def alone() -> None:
    """Nothing of it is shared out, and several processes would write into one folder."""
    _distributed.refuse_several("prune")


def written(export: Export) -> list[Problem]:
    """A format that holds it."""
    return export.problems(quantized=False)


def something(pruning: OneShotPruning) -> None:
    """A sparsity that takes weights."""
    if not pruning.sparsity > 0:
        raise CompressionError("pruning.sparsity: 0 prunes nothing; write the share of zeros that is wanted")


def data_for_it(
    pruning: OneShotPruning,
    solver: Solver | None,
    in_order: bool,
    reconstruct: Reconstruction | None,
    calibration: Calibration | None,
) -> None:
    """Examples where something is measured, and an order where there is something to measure."""
    if in_order and solver is None and reconstruct is None and not pruning.needs:
        raise CompressionError(
            f"in_order: the criterion {pruning.criterion.name} looks at no data, so no order changes it; leave it out"
        )
    if calibration is not None:
        return
    way_out = "add the section `calibration: {}`"
    if solver is not None:
        raise CompressionError(f"solver: {solver.name} needs {', '.join(solver.needs)}, measured on examples; {way_out}")
    require_calibration(pruning, calibration)
    if reconstruct is not None:
        raise CompressionError(f"reconstruct: it fits weights to what blocks give on examples; {way_out}")


def fitting_metrics(inputs: Opened, task: Task, evaluation: Evaluation) -> list[Problem]:
    """Metrics against the labels that the data has."""
    return check_metrics(task, evaluation, inputs.labels)


def layers(
    inputs: Opened,
    pruning: OneShotPruning,
    solver: Solver | None = None,
    in_order: bool = False,
    reconstruct: Reconstruction | None = None,
) -> Selection:
    """What is pruned: targets that are there, and into which pattern, sparsity and solver fit."""
    assert inputs.skeleton is not None
    selection = chosen(inputs.skeleton, pruning)
    say_unmatched(inputs.skeleton, pruning.ignore, "pruning")
    with in_its_words():
        check_fit(selection.modules, pruning)
        if solver is not None or reconstruct is not None or (in_order and pruning.needs):
            check_in_order(selection.modules, pruning, solver)
    return selection


@dataclass(frozen=True, kw_only=True)
class PruneSettings(Recipe):
    """What a prune recipe says: zeros in a trained model, at once, and what that costs on the task's metrics.

    Attributes:
        title: how report and card call the result; by default the last part of output_dir.
        model: a folder or Hub id.
        task: what the model is for, with the columns it reads.
        data: where rows come from: training rows to look at, test rows to measure.
        pruning: what to prune, by which measure, in which shape, how much.
        solver: chooses instead of the criterion, and corrects the weights that stay.
        in_order: measure each block behind the pruned blocks before it; a solver and `reconstruct` always do.
        reconstruct: fit the weights that stay to what each block gave before.
        calibration: which training examples are looked at.
        evaluation: how the report is measured.
        export: how the result is written and where it is published.
        output_dir: the new folder.
        seed: of splits that are cut.
    """

    title: str | None = None
    model: str
    task: Task
    data: Data
    pruning: OneShotPruning
    solver: Solver | None = None
    in_order: bool = False
    reconstruct: Reconstruction | None = None
    calibration: Calibration | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)
    export: Export = field(default_factory=Export)
    output_dir: str
    seed: int = 0

    checks = (
        alone,
        rows_that_end,
        some_seed,
        metrics_for_task,
        written,
        untrained,
        something,
        data_for_it,
    )
    opens = (place, destination, metrics, inputs, layers)
    after_interruption = "the same command begins again"

    @property
    def needs_data(self) -> bool:
        """Whether training examples are looked at."""
        return bool(self.pruning.needs) or self.solver is not None or self.reconstruct is not None

    @property
    def display_name(self) -> str:
        """The title, or the folder's name."""
        return self.title or self.output_dir.rstrip("/").rsplit("/", 1)[-1]

    def preview(self) -> str:
        """Which modules, which share of all weights, and how."""
        found = self.open()
        opened, selection = found["inputs"], found["layers"]
        reached = coverage(opened.skeleton, selection.modules, selection.left_out)
        amount = "the sparsity is what comes out"
        if self.pruning.target is not None:
            target = self.pruning.target
            amount = f"sparsity {target:g} of these, {target * reached.share:.1%} of all weights"
        said = {"by": self.method(), **self.looked_at(opened)}
        return "\n".join([reached.sentence("prunes"), amount, *(f"{key}: {value}" for key, value in said.items())])

    def method(self) -> str:
        """By what, in words."""
        by = self.solver or self.pruning.criterion
        order = ", block by block" if self.solver or self.reconstruct or self.in_order else ""
        fitted = f", {self.reconstruct.scope} reconstructed" if self.reconstruct else ""
        return f"{by.kind} {by.name}, pattern {self.pruning.pattern.name}{order}{fitted}"

    def way(self) -> dict[str, Any]:
        """What `prune` takes beside what to prune and the examples."""
        return {key: getattr(self, key) for key in ("solver", "in_order", "reconstruct")}

    def looked_at(self, opened: Opened) -> dict[str, str]:
        """How many training examples, in words; nothing where none are."""
        if self.calibration is None:
            return {}
        rows = len(opened.examples["train"])
        used = f"{min(self.calibration.num_examples, rows):,} of {rows:,} training {opened.task.unit}"
        return {"calibration": used if self.needs_data else f"{used}, which nothing looks at"}
