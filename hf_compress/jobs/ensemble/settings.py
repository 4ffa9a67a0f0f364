"""What an ensemble job is told, as a value, and what can be wrong in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner, check_weights
from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities
from hf_compress.ensembling.configuration import EnsembleFit, EnsembleMember
from hf_compress.ensembling.fitting.weights import check_smooth
from hf_compress.ensembling.opened import OpenedMember, names_of, open_members
from hf_compress.evaluation.asked import has_classes
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.evaluation.model_evaluation import rows_that_end, some_metrics, some_seed
from hf_compress.inputs.sections import Data
from hf_compress.recipe.checks import Check, Checked, Opener
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task import Task

_TASKS = ("sequence_classification", "image_classification", "audio_classification", "causal_lm")


def one_process() -> None:
    """Nothing of it is shared out, and several processes would write into one folder."""
    _distributed.refuse_several("ensemble")


def known_task(task: Task) -> None:
    """One whose members this job opens, asks and measures."""
    if task.name not in _TASKS:
        raise CompressionError(
            f"task: this job makes no ensembles for {task.name} (it does for {', '.join(_TASKS)}); make one in Python with"
            " ParallelEnsemble.from_members"
        )


def some_weights(members: Sequence[EnsembleMember]) -> None:
    """One of them counts."""
    check_weights([member.weight for member in members], len(members), names_of(members))


def rows_end(data: Data | None) -> None:
    """Members are asked about counted rows."""
    if data is not None:
        rows_that_end(data)


def rows_to_fit(fit: EnsembleFit, data: Data | None) -> None:
    """Where something is to be learned there are rows."""
    if fit.asked and data is None:
        raise CompressionError(
            "fit: weights and temperatures are learned on validation rows, and there is no data; write data: {path: ...},"
            " or leave fit out"
        )


def answers_to_fit(fit: EnsembleFit, task: Task) -> None:
    """Rows of one class each, whose probabilities can be learned from."""
    if fit.asked and not has_classes(task):
        raise CompressionError(
            f"fit: it looks at rows of one label each, which {task.name} does not have here; leave it out, and write"
            " weights beside the members (mixture_weights of the Python package fits those of language models)"
        )


def weights_once(fit: EnsembleFit, members: Sequence[EnsembleMember]) -> None:
    """Weights are given or learned."""
    for number, member in enumerate(members):
        if fit.weights and member.weight != 1.0:
            raise CompressionError(
                f"fit.weights: weights are to be learned, and members.{number}.weight says {member.weight:g}; leave one out"
            )


def slopes_to_fit(fit: EnsembleFit, combiner: Combiner) -> None:
    """Weights can be learned for a combiner whose answer moves with them."""
    if fit.weights:
        weights = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
        logits = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        try:
            check_smooth(combiner.combine(logits, weights).sum(), combiner)
        except CompressionError as error:
            raise CompressionError(f"fit.weights: {error}") from error


def opened(
    members: Sequence[EnsembleMember], task: Task | None = None, data: Data | None = None, seed: int = 0
) -> list[OpenedMember]:
    """Members with their rows, found to go together."""
    return open_members(members, task, data, seed)


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings(Checked):
    """Finished models of one task, and how their answers become one.

    Attributes:
        members: the models, two or more.
        task: what they are for, with the columns it reads.
        combiner: how their answers become one.
        on_nan: "refuse" an answer that is not a number, or "leave_out" the member in that batch.
        data: where the ensemble is fitted (validation) and measured (test); without it is neither.
        fit: what is learned on the validation rows.
        metrics: beside the task's own.
        batch_size: examples at once.
        seed: of splits that are cut and of rows that are left out.
    """

    members: tuple[EnsembleMember, ...]
    task: Task
    combiner: Combiner = field(default_factory=MeanProbabilities)
    on_nan: Literal["refuse", "leave_out"] = "refuse"
    data: Data | None = None
    fit: EnsembleFit = field(default_factory=EnsembleFit)
    metrics: tuple[Metric, ...] = ()
    batch_size: int = 16
    seed: int = 0

    checks: ClassVar[tuple[Check, ...]] = (
        one_process,
        known_task,
        some_weights,
        some_metrics,
        some_seed,
        rows_end,
        rows_to_fit,
        answers_to_fit,
        weights_once,
        slopes_to_fit,
    )
    opens: ClassVar[tuple[Opener, ...]] = (opened,)

    @property
    def evaluation(self) -> Evaluation:
        """How it is measured."""
        return Evaluation(metrics=self.metrics, batch_size=self.batch_size)
