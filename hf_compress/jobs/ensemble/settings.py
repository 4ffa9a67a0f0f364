"""What an ensemble job is told, as a value, and what can be wrong in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.ensembling.combiner import Combiner, check_weights
from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities
from hf_compress.ensembling.configuration import EnsembleFit, EnsembleMember
from hf_compress.ensembling.fitting.weights import check_smooth
from hf_compress.ensembling.fusion import Fusion
from hf_compress.ensembling.fusions.parallel import ParallelFusion
from hf_compress.ensembling.opened import OpenedMember, names_of, open_members
from hf_compress.evaluation.asked import has_classes
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.evaluation.in_turns import Latency
from hf_compress.evaluation.model_evaluation import rows_that_end, some_metrics, some_seed
from hf_compress.evaluation.token_likelihoods import has_tokens
from hf_compress.inputs.sections import Data
from hf_compress.recipe.checks import Check, Checked, Opener
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import open_inputs
from hf_compress.tasks.task import Task

_TASKS = (
    "sequence_classification",
    "image_classification",
    "audio_classification",
    "token_classification",
    "question_answering",
    "masked_lm",
    "causal_lm",
    "seq2seq",
    "speech_seq2seq",
    "ctc",
)


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
    if members:  # none at all is refused as such
        check_weights([member.weight for member in members], len(members), names_of(members))


def rows_end(data: Data | None) -> None:
    """Members are asked about counted rows."""
    if data is not None:
        rows_that_end(data)


def fitting_fusion(
    fusion: Fusion,
    task: Task,
    members: Sequence[EnsembleMember],
    combiner: Combiner,
    on_nan: str,
    fit: EnsembleFit,
) -> list[Problem]:
    """A fusion for the task and the members, and no setting that it makes nothing of."""
    said = {}
    if fusion.whole_rows and not has_classes(task):
        said["fusion"] = (
            f"{fusion.name} is for models that choose one class for a row, which {task.name} does not do here; leave it"
            " out, and all members are asked"
        )
    if "weights" not in fusion.takes:
        weighted = [number for number, member in enumerate(members) if member.weight != 1]
        said |= {f"members.{number}.weight": f"{fusion.name} makes nothing of weights; leave it out" for number in weighted}
        if fit.weights:
            said["fit.weights"] = f"{fusion.name} makes nothing of weights; leave it out"
    if "combiner" not in fusion.takes and combiner != MeanProbabilities():
        said["combiner"] = f"{fusion.name} combines no answers; leave it out"
    if "leave_out" not in fusion.takes and on_nan == "leave_out":
        said["on_nan"] = f"{fusion.name} has learned what all members say, so none can be left out; write refuse"
    try:
        fusion.check_members(names_of(members), [member.cost for member in members])
    except CompressionError as error:
        said["members"] = str(error)
    if fusion.asks_costs is None and any(member.cost is not None for member in members):
        said["members"] = f"members: {fusion.name} asks all members, whatever they cost; leave cost out"
    return [
        Problem(path="" if message.startswith(("members", "fusion")) else path, message=message)
        for path, message in said.items()
    ]


def rows_to_learn(fusion: Fusion, data: Data | None) -> None:
    """Where a fusion learns there are rows."""
    if fusion.learns and data is None:
        raise CompressionError(
            f"fusion: {fusion.name} learns on validation rows, and there is no data; write data: {{path: ...}}"
            + (", or thresholds by hand" if fusion.name == "cascade" else "")
        )


def rows_to_fit(fit: EnsembleFit, data: Data | None) -> None:
    """Where something is to be learned there are rows."""
    if fit.asked and data is None:
        raise CompressionError(
            "fit: weights and temperatures are learned on validation rows, and there is no data; write data: {path: ...},"
            " or leave fit out"
        )


def answers_to_fit(fit: EnsembleFit, task: Task, combiner: Combiner) -> None:
    """Rows of one class each, whose probabilities can be learned from; of language models weights of a mixture."""
    if has_classes(task):
        return
    if fit.temperatures or (fit.weights and not has_tokens(task)):
        raise CompressionError(
            f"fit: {'temperatures' if fit.temperatures else 'weights'} are learned of rows of one label each, which"
            f" {task.name} does not have here; leave it out"
        )
    if fit.weights and combiner != MeanProbabilities():
        raise CompressionError(
            f"fit.weights: of tokens only what came is kept, which weights of mean_probabilities can be learned from, and"
            f" not those of {combiner.name}; leave one out"
        )


def student_to_measure(student: str | None, members: Sequence[EnsembleMember], data: Data | None) -> None:
    """Where a student is named there are rows, and no member is called like it."""
    if student is None:
        return
    if data is None:
        raise CompressionError("student: it is measured beside the members, and there is no data; leave it out")
    if Path(student).name in names_of(members):
        raise CompressionError(f"student: a member is called {Path(student).name!r} too; give the member another name")


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
    return open_members(members, task, data, _known(seed))


def beside(
    student: str | None = None, task: Task | None = None, data: Data | None = None, seed: int = 0
) -> OpenedMember | None:
    """The student with its rows."""
    if student is None or task is None:
        return None
    problems: list[Problem] = []
    made = open_inputs(student, data, task, seed=_known(seed), measured="held_out", problems=problems)
    own = [replace(one, path="student") for one in problems if one.path in ("model", "tokenizer", "")]
    if problems:
        raise RecipeError([*own, *[one for one in problems if one.path not in ("model", "tokenizer", "")]])
    name = Path(student).name
    return OpenedMember(name=name, folder=resolve_folder(student, "student"), opened=made, order=None, hub={})


def enough_rows(opened: Sequence[OpenedMember], fusion: Fusion, data: Data | None) -> None:
    """As many as the fusion takes to learn from."""
    if data is None or not opened or not fusion.learns:
        return
    try:
        fusion.check_rows(len(opened[0].opened.examples["validation"]))
    except CompressionError as error:
        raise CompressionError(f"fusion: {error}") from error


def _known(seed: int) -> int:
    """The seed; one that `some_seed` refuses is not refused again by every member that is opened."""
    return seed if 0 <= seed < 2**32 else 0


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings(Checked):
    """Finished models of one task, and how their answers become one.

    Attributes:
        members: the models, two or more.
        task: what they are for, with the columns it reads.
        fusion: who is asked, and what is learned of the answers: all members (parallel), or a cascade, stacking, gating.
        combiner: how answers become one, where the fusion combines some.
        on_nan: "refuse" an answer that is not a number, or "leave_out" the member in that batch.
        data: where the ensemble is fitted (validation) and measured (test); without it is neither.
        fit: what else is learned on the validation rows.
        student: a folder or Hub id of a finished model, such as one that was distilled from the ensemble: measured beside.
        latency: how members and ensemble are timed, in turns; None = they are not.
        metrics: beside the task's own.
        batch_size: examples at once.
        seed: of splits that are cut and of rows that are left out.
    """

    members: tuple[EnsembleMember, ...]
    task: Task
    fusion: Fusion = field(default_factory=ParallelFusion)
    combiner: Combiner = field(default_factory=MeanProbabilities)
    on_nan: Literal["refuse", "leave_out"] = "refuse"
    data: Data | None = None
    fit: EnsembleFit = field(default_factory=EnsembleFit)
    student: str | None = None
    latency: Latency | None = field(default_factory=Latency)
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
        fitting_fusion,
        rows_to_learn,
        rows_to_fit,
        answers_to_fit,
        weights_once,
        slopes_to_fit,
        student_to_measure,
    )
    opens: ClassVar[tuple[Opener, ...]] = (opened, beside, enough_rows)

    @property
    def evaluation(self) -> Evaluation:
        """How it is measured."""
        return Evaluation(metrics=self.metrics, batch_size=self.batch_size)
