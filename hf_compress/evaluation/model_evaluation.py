"""What a finished model is measured on, as a value, and how it is opened."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.inputs.data import Measured
from hf_compress.inputs.sections import Data
from hf_compress.recipe.checks import Check, Checked, Opener
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import Found, Opened, open_inputs
from hf_compress.tasks.task import Task


def some_metrics(task: Task, metrics: Sequence[Metric], batch_size: int) -> list[Problem]:
    """Metrics that fit the task, none of them twice, and a batch with examples."""
    Evaluation(metrics=tuple(metrics), batch_size=batch_size)
    return [replace(one, path=f"metrics.{one.path}".rstrip(".")) for one in task.check_metrics(metrics)]


def rows_that_end(data: Data) -> None:
    """What is measured is a number of rows."""
    if data.streaming:
        raise CompressionError(
            "data.streaming: a model is measured on counted rows, and a stream has no number of them; leave it out,"
            " and write max_eval"
        )


def measured(
    model: str | None = None, data: Data | None = None, task: Task | None = None, split: Measured = "test", seed: int = 0
) -> Opened:
    """The model and its examples, found to fit together."""
    return open_inputs(model, data, task, seed=seed, measured=split)


def fitting_metrics(measured: Opened, task: Task, metrics: Sequence[Metric]) -> None:
    """Metrics against the labels that the data has, and what they need from outside."""
    found = Found([replace(one, path=f"metrics.{one.path}") for one in task.check_metrics(metrics, measured.labels)])
    found.refuse()
    for place, metric in enumerate(metrics):
        with found.collecting(f"metrics.{place}"):
            assert task.predicts is not None  # others refuse every metric
            metric.open(task.predicts)
    found.refuse()


@dataclass(frozen=True, kw_only=True)
class ModelEvaluation(Checked):
    """A finished model, dense or compressed, and the rows that it is measured on.

    It is loaded as its files say: by `from_pretrained` of the task's Auto class, in the type that they have.

    Attributes:
        model: a folder or Hub id.
        task: what the model is for, with the columns it reads.
        data: where rows come from; `max_eval` limits how many are measured.
        split: which rows: a split as a training has it (what is missing is cut by `seed`), or all of the data.
        metrics: beside the task's own.
        batch_size: examples at once.
        seed: of splits that are cut and of rows that are left out.
    """

    model: str
    task: Task
    data: Data
    split: Measured = "test"
    metrics: tuple[Metric, ...] = ()
    batch_size: int = 16
    seed: int = 0

    checks: ClassVar[tuple[Check, ...]] = (some_metrics, rows_that_end)
    opens: ClassVar[tuple[Opener, ...]] = (measured, fitting_metrics)

    @property
    def directions(self) -> dict[str, bool]:
        """What the metrics that were asked for give, and whether more of it is better."""
        return Evaluation(metrics=self.metrics).directions
