"""The metrics that a recipe's `evaluation` names, against its task: checks and an opener of jobs that have both."""

from collections.abc import Sequence
from dataclasses import replace

from hf_compress._problems import Problem
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.tasks.opened import Found
from hf_compress.tasks.task import Task


def check_metrics(task: Task, evaluation: Evaluation, labels: Sequence[str] = ()) -> list[Problem]:
    """Metrics that do not fit what the task predicts.

    Args:
        task: what is measured.
        evaluation: names them.
        labels: in the order of their ids; empty where they are not known yet.
    """
    found = task.check_metrics(evaluation.metrics, labels)
    return [replace(one, path=f"evaluation.metrics.{one.path}".rstrip(".")) for one in found]


def metrics_for_task(task: Task, evaluation: Evaluation) -> list[Problem]:
    """The same before the labels are known."""
    return check_metrics(task, evaluation)


def metrics(task: Task, evaluation: Evaluation) -> None:
    """What metrics need from outside, where they fit the task."""
    if task.predicts is None or check_metrics(task, evaluation):
        return
    found = Found([])
    for place, metric in enumerate(evaluation.metrics):
        with found.collecting(f"evaluation.metrics.{place}"):
            metric.open(task.predicts)
    found.refuse()
