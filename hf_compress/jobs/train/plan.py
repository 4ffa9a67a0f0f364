"""Everything a training run needs, checked before the first step and before anything is written."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.ignored import say_unmatched
from hf_compress._problems import Problem, RecipeError, problems_of
from hf_compress.distillation.objective import check_kind as check_loss_kind
from hf_compress.distillation.projections import check_projections
from hf_compress.inputs.fresh import END_OF_TEXT_ID, train_tokenizer, wrap_tokenizer
from hf_compress.inputs.images import describe_images
from hf_compress.inputs.labels import order_labels
from hf_compress.inputs.models import load_config, new_weights, num_positions, skeleton
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from hf_compress.inputs.tokenizers import load_tokenizer
from hf_compress.jobs.train.checks import check_schedules
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.pruning.masks import Masks
from hf_compress.quantization.fitting import check_model
from hf_compress.quantization.storage_type import check_storage_type
from hf_compress.tasks.fit import check_kind, check_length, check_vocabulary
from hf_compress.tasks.opened import open_data, open_model
from hf_compress.tasks.task import TASKS, Task
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.arguments import build_training, check_trainer, planned_steps
from hf_compress.training.best_model import check_evaluations

if TYPE_CHECKING:
    from datasets import Dataset


logger = logging.getLogger(__name__)


@dataclass
class Plan:
    """A recipe with its files opened.

    Attributes:
        recipe: what was asked for.
        task: its row of the task table.
        args: TrainingArguments of the compression run.
        raw: the splits as loaded.
        base: the model's config before task and data have a say; None where the model was refused.
        processor: tokenizer or image processor.
        config: the model's config for this task and data.
        labels: their names in the order of their ids; empty without labels.
        examples: the splits as the model takes them.
        images: their size in the data and for the model; None without images.
        steps: optimizer steps of the compression run, once the examples are counted.
        dense_steps: those of the dense stage, None without one.
        problems: what was found wrong.
    """

    recipe: TrainSettings
    task: Task
    args: Any
    raw: dict[str, "Dataset"] = field(default_factory=dict)
    base: Any = None
    processor: Any = None
    config: Any = None
    labels: list[str] = field(default_factory=list)
    examples: dict[str, "Dataset"] = field(default_factory=dict)
    images: str | None = None
    steps: int = 0
    dense_steps: int | None = None
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def make(cls, recipe: TrainSettings, with_examples: bool, saved_tokenizer: Path | None = None) -> "Plan":
        """Open and check everything.

        Args:
            recipe: a recipe without problems of its own.
            with_examples: also train a fresh tokenizer, prepare the examples and check schedules against their number.
            saved_tokenizer: that of an interrupted run, which is used again.

        Raises:
            RecipeError: with every problem at once.
        """
        plan = cls(recipe=recipe, task=TASKS[recipe.task], args=build_training(recipe.training_mapping()))
        plan._check_trainers()
        with plan._collecting():
            plan.raw, plan.labels = open_data(recipe.data, plan.task, plan.args.seed)
        with plan._collecting():
            plan.base = open_model(recipe.model, plan.task)
        with plan._collecting():
            plan._load_processor(saved_tokenizer, train=with_examples and bool(plan.raw))
        with plan._collecting():
            plan._load_config()
        if plan.config is not None:
            plan._check_model()
        plan._raise()
        if plan.task.input == "image":
            plan.images = describe_images(plan.raw["train"], recipe.data.image, plan.processor)
            logger.info("images: %s", plan.images)
        if with_examples:
            with plan._collecting():
                plan.examples = plan.task.prepare(plan.raw, plan.processor, recipe.data, plan.labels)
                plan._check_steps()
            plan._raise()
        return plan

    @contextlib.contextmanager
    def _collecting(self, path: str = "") -> Iterator[None]:
        """A refusal becomes a problem, at `path` unless it says its own, and the next check still runs."""
        try:
            yield
        except CompressionError as error:
            self.problems.extend(replace(item, path=item.path or path) for item in problems_of(error))

    def _raise(self) -> None:
        if self.problems:
            raise RecipeError(self.problems)

    def _check_trainers(self) -> None:
        recipe = self.recipe
        self.problems.extend(check_trainer(recipe.training_mapping(), "training", recipe.compression))
        if recipe.dense is not None and not self.problems:
            self.problems.extend(check_trainer(recipe.training_mapping(dense=True), "dense.training"))

    def _check_steps(self) -> None:
        """What depends on the number of examples."""
        num_examples = len(self.examples["train"])
        batch = self.args.train_batch_size * self.args.world_size
        if self.args.dataloader_drop_last and num_examples < batch:
            raise CompressionError(
                f"training.dataloader_drop_last: drops all {num_examples} examples, fewer than one batch of {batch}; take a"
                " smaller batch or set it to false"
            )
        self.steps = planned_steps(self.args, num_examples)
        if self.recipe.dense is not None:
            self.dense_steps = planned_steps(build_training(self.recipe.training_mapping(dense=True)), num_examples)
        self.problems.extend(check_schedules(self.recipe, self.steps))
        if self.recipe.compression.edits_weights:
            with self._collecting("training.eval_delay"):
                check_evaluations(self.args, self.steps, None if self.args.max_steps > 0 else self.args.num_train_epochs)

    def _load_processor(self, saved: Path | None, train: bool) -> None:
        recipe = self.recipe
        if self.task.input == "image":
            return  # needs the config
        if isinstance(recipe.tokenizer, FreshTokenizer):
            if saved is not None:
                self.processor = load_tokenizer(str(saved))
            elif train:
                self.processor = _train_on_main(recipe.tokenizer, self.raw["train"], recipe.data.text)
            return
        if recipe.tokenizer is None and self.base is None:
            return  # the model itself was refused
        source = recipe.tokenizer or recipe.model
        assert isinstance(source, str), source  # a fresh model without a tokenizer was refused before
        self.processor = load_tokenizer(source)

    def _load_config(self) -> None:
        recipe = self.recipe
        if self.base is None:
            return
        changes: dict[str, Any] = {}
        if isinstance(recipe.model, FreshModel) and self.task.input == "text":
            if self.processor is not None:
                changes["vocab_size"] = len(self.processor)
                changes |= {
                    f"{kind}_token_id": getattr(self.processor, f"{kind}_token_id") for kind in ("bos", "eos", "pad")
                }
            elif isinstance(recipe.tokenizer, FreshTokenizer):
                changes["vocab_size"] = recipe.tokenizer.vocab_size
                changes |= {f"{kind}_token_id": END_OF_TEXT_ID for kind in ("bos", "eos", "pad")}
        unpadded = isinstance(recipe.model, str) and getattr(self.base, "pad_token_id", None) is None
        if unpadded and self.task.labelled and self.processor is not None:
            # Classifiers of decoders read the last token that is no padding, so they must know it.
            changes["pad_token_id"] = self.processor.pad_token_id
        if self.labels:
            if isinstance(recipe.model, str):
                dense = recipe.dense is not None
                self.labels = order_labels(self.labels, self.base, recipe.model, self.task.model_class(), dense)
            changes["id2label"] = dict(enumerate(self.labels))
            changes["label2id"] = {name: index for index, name in enumerate(self.labels)}
        self.config = load_config(recipe.model, changes)
        if self.task.input == "image":
            self.processor = load_image_processor(recipe.model, self.config)

    def _check_model(self) -> None:
        recipe = self.recipe
        with self._collecting():
            model = skeleton(self.task.model_class(), self.config)
            if recipe.pruning is not None:
                with self._collecting("pruning.targets"):
                    Masks(model, recipe.pruning)
                    say_unmatched(model, recipe.pruning.ignore, "pruning")
            if recipe.quantization is not None:
                with self._collecting("quantization.targets"):
                    check_model(model, recipe.quantization)
                    say_unmatched(model, recipe.quantization.ignore, "quantization")
            with self._collecting("export.dtype"):
                check_storage_type(model, recipe.quantization, recipe.export.dtype)
            if recipe.distillation is not None:
                with self._collecting("distillation.losses"):
                    check_loss_kind(recipe.distillation, task_kind(model), type(model).__name__)
            with self._collecting():
                check_length(self.task, recipe.data.length, num_positions(model))
        with self._collecting():
            check_kind(self.task, self.config)
        with self._collecting():
            check_vocabulary(self.task, self.processor, self.config)
        if recipe.distillation is not None:
            tokenizer = self.processor if self.task.input == "text" else None
            with self._collecting("distillation.teacher"):
                recipe.distillation.teacher.check(self.config, tokenizer, self.task, "distillation.teacher")
                with self._collecting("distillation.losses"):
                    check_projections(recipe.distillation, self.config)
        if isinstance(recipe.model, str):
            with self._collecting():
                self._check_trained(recipe.model)

    def _check_trained(self, model: str) -> None:
        """Compressing a random head would measure nothing."""
        missing = new_weights(self.task.model_class(), model, "model", self.config)
        if missing and self.recipe.dense is None:
            raise CompressionError(
                f"dense: is missing: {model} has no {missing[0]} (a new head, {len(missing)} tensors), which must be"
                " trained before it is compressed; write `dense: {}`"
            )


def _train_on_main(fresh: FreshTokenizer, split: "Dataset", column: str) -> Any:
    """One process trains, all get the same tokenizer."""
    if _distributed.world_size() == 1:
        return train_tokenizer(fresh, split[column])
    from accelerate.utils import broadcast_object_list
    from tokenizers import Tokenizer

    trained = train_tokenizer(fresh, split[column]) if _distributed.is_main() else None
    text = [trained.backend_tokenizer.to_str() if trained is not None else None]
    broadcast_object_list(text, from_process=0)
    return trained if trained is not None else wrap_tokenizer(Tokenizer.from_str(str(text[0])))
