"""What a shrink recipe says, and what can be wrong with it."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import build
from hf_compress._problems import Problem
from hf_compress.calibration.configuration import Calibration
from hf_compress.checkpoints.architecture import model_class
from hf_compress.evaluation.configuration import Evaluation, untrained
from hf_compress.evaluation.model_evaluation import some_seed
from hf_compress.evaluation.task_metrics import check_metrics, metrics, metrics_for_task
from hf_compress.export.configuration import Export
from hf_compress.export.push import destination
from hf_compress.inputs.place import place
from hf_compress.inputs.sections import Data
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.removal import PlannedRemoval, planned_by_recipe
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.opened import Opened, open_inputs
from hf_compress.tasks.task import Task


def metrics_of_task(task: Task | None, evaluation: Evaluation) -> list[Problem]:
    """Metrics that fit the task, where there is one."""
    return [] if task is None else metrics_for_task(task, evaluation)


def outside(evaluation: Evaluation, task: Task | None = None) -> None:
    """What metrics need from outside."""
    if task is not None:
        metrics(task, evaluation)


def alone() -> None:
    """Several processes would write into one folder."""
    _distributed.refuse_several("shrink")


def written(export: Export) -> list[Problem]:
    """A format that holds it."""
    return export.problems(quantized=False)


def rows_of_a_task(task: Task | None, data: Data | None, calibration: Calibration | None) -> list[Problem]:
    """Rows and what becomes of them, together or not at all."""
    if data is not None and data.streaming:
        message = "a stream has no number of rows to draw from; leave it out, and write max_train"
        return [Problem(path="data.streaming", message=message)]
    if task is not None and data is not None:
        return []
    if (task is None) != (data is None):
        missing, there = ("task", "data") if task is None else ("data", "task")
        return [Problem(path=missing, message=f"is missing: `{there}` needs it to measure what shrinking costs")]
    if calibration is not None:
        return [Problem(path="calibration", message="draws from training rows, and there are none; write task and data")]
    return []


def chosen_by_data(shrink: ShrinkPlan, calibration: Calibration | None) -> list[Problem]:
    """What of a model goes, where only data can say it."""
    if calibration is not None or not shrink.needs_calibration:
        return []
    message = f"{shrink.needs_calibration} is chosen on examples; add the section `calibration: {{}}`, with task and data"
    return [Problem(path=f"shrink.{shrink.needs_calibration}", message=message)]


def pieces_of_rows(shrink: ShrinkPlan, task: Task | None, data: Data | None) -> list[Problem]:
    """Rows of the vocabulary, where only training rows can say which are used."""
    if shrink.vocabulary is None or task is not None or data is not None:
        return []
    message = "keeps what the training rows are written with, and there are none; write task and data"
    return [Problem(path="shrink.vocabulary", message=message)]


def inputs(model: str | None = None, data: Data | None = None, task: Task | None = None, seed: int = 0) -> Opened:
    """Model and rows, found to fit together; without rows the model alone."""
    return open_inputs(model, data, task, seed=seed)


def fitting_metrics(inputs: Opened, evaluation: Evaluation, task: Task | None = None) -> list[Problem]:
    """Metrics against the labels that the data has."""
    return [] if task is None else check_metrics(task, evaluation, inputs.labels)


def own_class(inputs: Opened, model: str) -> Any:
    """The class that the model has by its task, or by its config where there is none.

    Raises:
        CompressionError: the config names none.
    """
    if inputs.skeleton is not None:
        return type(inputs.skeleton)
    assert inputs.base is not None
    found = model_class(inputs.base.to_dict())
    if found is None:
        raise CompressionError(f"model: the config of {model} names no class of transformers; write task and data")
    return found


def planned(inputs: Opened, model: str, shrink: ShrinkPlan, data: Data | None = None, seed: int = 0) -> PlannedRemoval:
    """What the plan leaves of the model, by the pieces of its rows and by counts."""
    whole = inputs.skeleton
    if whole is None:
        whole = build(own_class(inputs, model), inputs.base, None, "meta")
    if whole is None:
        raise CompressionError(f"model: {model} cannot be built from its config alone; write task and data")
    return planned_by_recipe(whole, shrink, inputs, data, seed)


@dataclass(frozen=True, kw_only=True)
class ShrinkSettings(Recipe):
    """Parts taken out of a trained model, at once, and what that costs where there are rows to measure it on.

    Attributes:
        title: how report and card call the result; by default the last part of output_dir.
        model: a folder or Hub id.
        task: what the model is for, with the columns it reads; None: nothing is measured.
        data: where rows come from: training rows to choose by, test rows to measure.
        shrink: which parts stay.
        calibration: which training examples parts are chosen by; None: by weights.
        evaluation: how the report is measured.
        export: how the result is written and where it is published.
        output_dir: the new folder.
        seed: of splits that are cut.
    """

    title: str | None = None
    model: str
    task: Task | None = None
    data: Data | None = None
    shrink: ShrinkPlan
    calibration: Calibration | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)
    export: Export = field(default_factory=Export)
    output_dir: str
    seed: int = 0

    checks = (alone, some_seed, metrics_of_task, written, untrained, rows_of_a_task, chosen_by_data, pieces_of_rows)
    opens = (place, destination, outside, inputs, fitting_metrics, planned)
    after_interruption = "the same command begins again"

    @property
    def display_name(self) -> str:
        """The title, or the folder's name."""
        return self.title or self.output_dir.rstrip("/").rsplit("/", 1)[-1]

    def preview(self) -> str:
        """What is left by counts, and what that saves; which parts go is chosen when the weights are there."""
        lines: str = self.open()["planned"].describe()
        return lines
