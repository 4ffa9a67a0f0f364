"""Everything a training run needs, checked before the first step and before anything is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._modules.ignored import say_unmatched
from hf_compress._problems import Problem
from hf_compress._sharding.contract import loading_whole
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.objective import check_kind as check_loss_kind
from hf_compress.distillation.projections import check_projections
from hf_compress.evaluation.task_metrics import check_metrics, metrics
from hf_compress.export.push import destination
from hf_compress.inputs.tokenizers import tokenizer_of
from hf_compress.jobs.train.checks import check_schedules
from hf_compress.jobs.train.settings import TrainSettings, arguments_class
from hf_compress.jobs.train.shrunk import check_losses
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.shrink.removal import PlannedRemoval, planned_by_recipe
from hf_compress.quantization.fitting import fit
from hf_compress.quantization.storage_type import check_storage_type
from hf_compress.tasks.opened import Found, Opened, open_inputs
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.agreement import check_fed
from hf_compress.training.arguments import check_trainer, planned_steps
from hf_compress.training.best_model import check_evaluations
from hf_compress.training.calibrated import say_unused

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_UNTRAINED = (
    "dense: is missing: {model} has no {tensor} (a new head, {number} tensors), which must be trained before it is"
    " compressed; write `dense: {{}}`"
)
"""Compressing a random head would measure nothing."""


@dataclass
class Plan:
    """A recipe with its files opened.

    Attributes:
        recipe: what was asked for.
        args: TrainingArguments of the compression run.
        opened: model, data and task, as the dense model takes them.
        steps: optimizer steps of the compression run.
        dense_steps: those of the dense stage, None without one.
        found: what is wrong.
        removal: what `shrink` leaves of the model, by its rows' pieces and by counts.
    """

    recipe: TrainSettings
    args: Any
    opened: Opened
    found: Found
    removal: "PlannedRemoval | None" = None
    steps: int = 0
    dense_steps: int | None = None

    @property
    def trained(self) -> Opened:
        """Model, data and task, as the model takes them that is trained compressed."""
        vocabulary = None if self.removal is None else self.removal.vocabulary
        return self.opened if vocabulary is None else vocabulary.opened

    @classmethod
    def make(cls, recipe: TrainSettings, saved_tokenizer: Path | None = None) -> "Plan":
        """Open and check everything.

        Args:
            recipe: a recipe without problems of its own.
            saved_tokenizer: that of an interrupted run, which is used again.

        Raises:
            RecipeError: with every problem at once.
        """
        args = recipe.training_arguments()
        with loading_whole():
            return cls._opened(recipe, args, saved_tokenizer)

    @classmethod
    def _opened(cls, recipe: TrainSettings, args: Any, saved_tokenizer: Path | None) -> "Plan":
        found = Found([])
        opened = open_inputs(
            recipe.model,
            recipe.data,
            recipe.task,
            recipe.tokenizer,
            seed=recipe.seed,
            trained_anew=recipe.dense is not None or recipe.is_plain,
            untrained=_UNTRAINED,
            saved_tokenizer=saved_tokenizer,
            problems=found.problems,
        )
        found.problems[:0] = _trainer_problems(recipe, opened.skeleton)
        plan = cls(recipe=recipe, args=args, opened=opened, found=found)
        plan._check_metrics()
        with found.collecting():
            destination(recipe.export)
        if opened.skeleton is not None:
            plan._check_model(opened.skeleton)
        trained = plan.trained
        if trained.config is not None and recipe.distillation is not None:
            with found.collecting("distillation.teacher"):
                plan._check_teacher(recipe.distillation)
                with found.collecting("distillation.losses"):
                    check_projections(recipe.distillation, trained.config)
        found.refuse()
        with found.collecting():
            plan._check_steps()
        found.refuse()
        for one in {id(one): one for one in (opened, trained)}.values():
            one.examples["train"], facts = recipe.seen_rows(one.examples["train"])
            one.facts |= facts
        return plan

    def _check_teacher(self, distillation: Distillation) -> None:
        """That it answers for the student's pieces."""
        trained = self.trained
        assert trained.config is not None
        tokenizer = tokenizer_of(trained.processor)
        try:
            distillation.teacher.check(trained.config, tokenizer, trained.task, "distillation.teacher")
        except CompressionError as error:
            if trained is self.opened:
                raise
            raise CompressionError(
                f"{error}; behind shrink.vocabulary the student has fewer pieces, so leave the teacher out to be taught by"
                " the dense model, or make the teacher's vocabulary smaller first, with job: shrink on the same rows"
            ) from error

    def _check_metrics(self) -> None:
        """Metrics against the labels, and whether what they need from outside is there."""
        task, evaluation = self.recipe.task, self.recipe.evaluation
        self.found.problems += check_metrics(task, evaluation, self.opened.labels)
        with self.found.collecting():
            metrics(task, evaluation)

    def _check_steps(self) -> None:
        """What depends on the number of examples."""
        # The steps of a stream are stated, and its examples not counted.
        streamed = self.recipe.data.streaming
        num_examples = 0 if streamed else len(self.trained.examples["train"])
        batch = self.args.train_batch_size * self.args.world_size
        if self.args.dataloader_drop_last and 0 < num_examples < batch:
            raise CompressionError(
                f"training.dataloader_drop_last: drops all {num_examples} examples, fewer than one batch of {batch}; take a"
                " smaller batch or set it to false"
            )
        if not streamed:
            check_fed(num_examples, self.args.world_size)
        self.steps = planned_steps(self.args, num_examples)
        if self.recipe.dense is not None:
            num_dense = 0 if streamed else len(self.opened.examples["train"])
            self.dense_steps = planned_steps(self.recipe.training_arguments(dense=True), num_dense)
        self.found.problems.extend(check_schedules(self.recipe, self.steps))
        if self.recipe.compression.edits_weights:
            with self.found.collecting("training.eval_delay"):
                check_evaluations(self.args, self.steps, None if self.args.max_steps > 0 else self.args.num_train_epochs)

    def steps_in_words(self) -> str:
        """How long each model is trained."""
        if self.recipe.is_plain:
            return str(self.steps)
        if self.dense_steps is None:
            return f"{self.steps} compressed, from the given model" + (", shrunk" if self.recipe.shrink is not None else "")
        return f"{self.dense_steps} dense, then {self.steps} compressed"

    def _check_model(self, model: "PreTrainedModel") -> None:
        """Counts, targets, groups, storage type and losses against a model without memory."""
        recipe, collecting = self.recipe, self.found.collecting
        if recipe.shrink is not None:
            with collecting():
                opened = self.opened if self.opened.examples else None  # without them the rows were refused
                self.removal = planned_by_recipe(model, recipe.shrink, opened, recipe.data, recipe.seed)
                model = self.removal.left
        parts = None if self.removal is None else self.removal.parts
        if parts is not None and recipe.distillation is not None:
            with collecting("distillation.losses"):
                check_losses(recipe.distillation, parts)
        if recipe.pruning is not None:
            with collecting("pruning.targets"):
                Masks(model, recipe.pruning)
                say_unmatched(model, recipe.pruning.ignore, "pruning")
        if recipe.shrink is None or not recipe.shrink.measures:
            say_unused(recipe.compression)
        fitting, layout = None, None
        if recipe.quantization is not None:
            with collecting("quantization.targets"):
                _, layout = fit(model, recipe.quantization, [recipe.export_format])
                say_unmatched(model, recipe.quantization.ignore, "quantization")
                fitting = recipe.quantization
        with collecting("export.dtype"):
            check_storage_type(model, fitting, recipe.export.dtype, layout)
        if recipe.distillation is not None:
            with collecting("distillation.losses"):
                check_loss_kind(recipe.distillation, task_kind(model), type(model).__name__)


def _trainer_problems(recipe: TrainSettings, model: "PreTrainedModel | None") -> list[Problem]:
    """What the Trainers of both stages refuse."""
    cls = arguments_class(recipe.task)
    problems = check_trainer(recipe.training_mapping(), "training", recipe.compression, model, cls)
    if recipe.dense is not None and not problems:
        problems += check_trainer(recipe.training_mapping(dense=True), "dense.training", cls=cls)
    return problems
