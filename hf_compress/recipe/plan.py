"""Everything a training run needs, checked before the first step and before anything is written."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress.distillation.teachers.model import ModelTeacher, check_teacher
from hf_compress.pruning.masks import Masks
from hf_compress.quantization.qat import check_model
from hf_compress.recipe.data import load_splits
from hf_compress.recipe.models import (
    load_config,
    load_image_processor,
    load_tokenizer,
    new_weights,
    skeleton,
    train_tokenizer,
)
from hf_compress.recipe.problems import Problem, RecipeError, problems_of
from hf_compress.recipe.sections import FreshModel, FreshTokenizer
from hf_compress.recipe.tasks import TASKS, Task, label_names
from hf_compress.recipe.training_arguments import build_training, planned_steps

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_compress.recipe.jobs.train import Train


@dataclass
class Plan:
    """A recipe with its files opened.

    Attributes:
        recipe: what was asked for.
        task: its row of the task table.
        args: TrainingArguments of the compression run.
        raw: the splits as loaded.
        processor: tokenizer or image processor.
        config: the model's config.
        examples: the splits as the model takes them.
        problems: what was found wrong.
    """

    recipe: "Train"
    task: Task
    args: Any
    raw: dict[str, "Dataset"] = field(default_factory=dict)
    processor: Any = None
    config: Any = None
    examples: dict[str, "Dataset"] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def make(cls, recipe: "Train", with_examples: bool, saved_tokenizer: Path | None = None) -> "Plan":
        """Open and check everything.

        Args:
            recipe: a recipe without problems of its own.
            with_examples: also train a fresh tokenizer, prepare the examples and check schedules against their number.
            saved_tokenizer: that of an interrupted run, which is used again.

        Raises:
            RecipeError: with every problem at once.
        """
        plan = cls(recipe=recipe, task=TASKS[recipe.task], args=build_training(recipe.training_mapping()))
        with plan._collecting():
            plan.raw = load_splits(recipe.data, plan.args.seed)
            plan.task.check_columns(plan.raw, recipe.data)
        columns_are_there = not plan.problems
        with plan._collecting():
            plan._load_processor(saved_tokenizer, train=with_examples and columns_are_there)
        with plan._collecting():
            plan._load_config(columns_are_there)
        if plan.config is not None:
            plan._check_model()
        plan._raise()
        if with_examples:
            with plan._collecting():
                plan.examples = plan.task.prepare(plan.raw, plan.processor, recipe.data)
                steps = planned_steps(plan.args, len(plan.examples["train"]))
                plan.problems.extend(recipe.check_schedules(steps))
            plan._raise()
        return plan

    @contextlib.contextmanager
    def _collecting(self) -> Iterator[None]:
        """A refusal becomes a problem, and the next check still runs."""
        try:
            yield
        except CompressionError as error:
            self.problems.extend(problems_of(error))

    def _raise(self) -> None:
        if self.problems:
            raise RecipeError(self.problems)

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
        source = recipe.tokenizer or recipe.model
        assert isinstance(source, str), source  # a fresh model without a tokenizer was refused before
        self.processor = load_tokenizer(source)

    def _load_config(self, columns_are_there: bool) -> None:
        recipe = self.recipe
        changes: dict[str, Any] = {}
        if isinstance(recipe.model, FreshModel) and self.task.input == "text":
            if self.processor is not None:
                changes["vocab_size"] = len(self.processor)
                changes |= {
                    f"{kind}_token_id": getattr(self.processor, f"{kind}_token_id") for kind in ("bos", "eos", "pad")
                }
            elif isinstance(recipe.tokenizer, FreshTokenizer):
                changes["vocab_size"] = recipe.tokenizer.vocab_size
        if self.task.labelled and columns_are_there:
            names = label_names(self.raw, recipe.data)
            changes["id2label"] = dict(enumerate(names))
            changes["label2id"] = {name: index for index, name in enumerate(names)}
        self.config = load_config(recipe.model, changes)
        if self.task.input == "image":
            self.processor = load_image_processor(recipe.model, self.config)

    def _check_model(self) -> None:
        recipe = self.recipe
        with self._collecting():
            model = skeleton(self.task.model_class(), self.config)
            for job, check in ((recipe.pruning, Masks), (recipe.quantization, check_model)):
                if job is not None:
                    with self._collecting():
                        check(model, job)  # type: ignore[arg-type]
        with self._collecting():
            self._check_length()
        with self._collecting():
            self._check_vocabulary()
        if recipe.distillation is not None and isinstance(recipe.distillation.teacher, ModelTeacher):
            with self._collecting():
                self._check_teacher(recipe.distillation.teacher)
        if isinstance(recipe.model, str) and recipe.dense is None:
            with self._collecting():
                self._check_trained(recipe.model)

    def _check_length(self) -> None:
        limit = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if self.task.input == "text" and limit is not None and self.recipe.data.length > limit:
            raise CompressionError(
                f"data.length: {self.recipe.data.length} tokens are more than the model's {limit} positions"
            )

    def _check_vocabulary(self) -> None:
        size = getattr(self.config.get_text_config(), "vocab_size", None)
        if self.task.input == "text" and self.processor is not None and size is not None and len(self.processor) > size:
            raise CompressionError(
                f"tokenizer: it has {len(self.processor)} entries and the model only {size}; take the model's own tokenizer"
            )

    def _check_teacher(self, teacher: ModelTeacher) -> None:
        """A teacher from a path: its config, and its tokenizer where it has one."""
        if not isinstance(teacher.model, str):
            return
        from hf_compress.recipe.models import _from_pretrained

        key = "distillation.teacher.model"
        from transformers import AutoConfig, AutoTokenizer

        config = _from_pretrained(AutoConfig, teacher.model, key)
        try:
            check_teacher(self.config, config)
        except CompressionError as error:
            raise CompressionError(f"{key}: {error}") from error
        if self.task.input != "text" or self.processor is None:
            return
        with contextlib.suppress(CompressionError):  # a teacher without a tokenizer is judged by its config alone
            tokenizer = _from_pretrained(AutoTokenizer, teacher.model, key)
            if tokenizer.get_vocab() != self.processor.get_vocab():
                message = f"the tokenizer of {teacher.model} has another vocabulary of the same size; both see the same ids"
                self.problems.append(
                    Problem(path=key, message=message + ", so take a teacher with the student's tokenizer")
                )

    def _check_trained(self, model: str) -> None:
        """Compressing a random head would measure nothing."""
        missing = new_weights(self.task.model_class(), model, self.config)
        if missing:
            raise CompressionError(
                f"dense: is missing: {model} has no {missing[0]} (a new head, {len(missing)} tensors), which must be trained"
                " before it is compressed; write `dense: {}`"
            )


def _train_on_main(fresh: FreshTokenizer, split: "Dataset", column: str) -> Any:
    """One process trains, all get the same tokenizer."""
    from transformers import PreTrainedTokenizerFast

    if _distributed.world_size() == 1:
        return train_tokenizer(fresh, split[column])
    from accelerate.utils import broadcast_object_list
    from tokenizers import Tokenizer

    trained = train_tokenizer(fresh, split[column]) if _distributed.is_main() else None
    text = [trained.backend_tokenizer.to_str() if trained is not None else None]
    broadcast_object_list(text, from_process=0)
    if trained is not None:
        return trained
    from hf_compress.recipe.models import END_OF_TEXT

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(str(text[0])),
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
    )
