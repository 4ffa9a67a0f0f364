"""What a recipe names outside itself, opened for its task: the one beginning of every job that works on data."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError, check_all, problems_of
from hf_compress.checkpoints.exported import refuse_program
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.weight_files import holds_program
from hf_compress.inputs.data import HeldOut, Measured, load_measured, load_splits
from hf_compress.inputs.file_names import with_files
from hf_compress.inputs.fresh import check_keys, train_on_main
from hf_compress.inputs.labels import order_labels
from hf_compress.inputs.models import load_config, load_model, new_weights, require_architecture, skeleton
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.inputs.tokenizers import load_tokenizer
from hf_compress.tasks.other_head import refuse_other_head
from hf_compress.tasks.prepared import prepare_examples
from hf_compress.tasks.task import Splits, Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)


UNTRAINED = (
    "model: {model} has no {tensor} ({number} tensors are missing), so it was not trained for {task}; name a model that was"
)
"""What a job says that takes only models that do their task already."""


class Found:
    """Problems, collected where they arise.

    Args:
        problems: a list to add to.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    @contextlib.contextmanager
    def collecting(self, path: str = "") -> Iterator[None]:
        """A refusal becomes a problem, at `path` unless it says its own, and what comes behind the block still runs."""
        try:
            yield
        except CompressionError as error:
            self.problems.extend(replace(item, path=item.path or path) for item in problems_of(error))

    def refuse(self) -> None:
        """Raise what was found.

        Raises:
            RecipeError: if there is anything.
        """
        if self.problems:
            raise RecipeError(self.problems)


@dataclass
class Opened:
    """Model, data and task of a recipe, opened and found to fit together.

    Attributes:
        task: as the recipe has it; this and the model are set where both are known and looked at together.
        model: a folder, a Hub id or a config.
        raw: the splits as loaded.
        base: the model's config before data and processor have a say; None where the model was refused.
        processor: what makes inputs of rows; None for a tokenizer that is yet to be trained.
        config: the model's config for this task and data.
        labels: their names in the order of their ids; empty without labels.
        skeleton: the model without memory.
        facts: about the data, for reports.
        examples: the splits as the model takes them.
    """

    task: Task = field(init=False)
    model: str | FreshModel = field(init=False)
    raw: Splits = field(default_factory=dict)
    base: "PretrainedConfig | None" = None
    processor: Any = None
    config: "PretrainedConfig | None" = None
    labels: list[str] = field(default_factory=list)
    skeleton: "PreTrainedModel | None" = None
    facts: dict[str, str] = field(default_factory=dict)
    examples: Splits = field(default_factory=dict)

    def load_model(self, seed: int, source: str | None = None, weights: bool = True) -> "PreTrainedModel":
        """The model in fp32.

        Args:
            seed: of fresh weights.
            source: the folder of another checkpoint with this config.
            weights: see `hf_compress.inputs.models.load_model`.

        Raises:
            CompressionError: the weights do not fit.
        """
        assert self.config is not None
        model = load_model(self.task.model_class(), source or self.model, self.config, seed, weights)
        self.task.finish_model(model, self.processor)
        return model

    def fit(
        self,
        found: Found,
        base: "PretrainedConfig",
        tokenizer: str | FreshTokenizer | None,
        trained_anew: bool,
        untrained: str,
        finished: bool = False,
    ) -> None:
        """Make the config, and see whether model, task and processor fit together; see `open_inputs`."""
        model, task = self.model, self.task
        with found.collecting():
            changes = task.config_changes(model, base, self.processor, tokenizer)
            if self.labels:
                if isinstance(model, str):
                    self.labels = order_labels(self.labels, base, model, task.model_class(), trained_anew)
                changes["id2label"] = dict(enumerate(self.labels))
                changes["label2id"] = {name: index for index, name in enumerate(self.labels)}
            self.config = load_config(model, changes)
        if self.config is None:
            return
        with found.collecting():
            self.skeleton = skeleton(task.model_class(), self.config)
            task.check_model(self.skeleton)
        with found.collecting():
            task.check_config(self.config, self.processor)
        if isinstance(model, str):
            with found.collecting():
                refuse_other_head(model, base, task, self.config, trained_anew)
                if finished and holds_program(resolve_folder(model, "model")):
                    refuse_program(resolve_folder(model, "model"), "model")
                    return  # a graph has no names to compare
                missing = new_weights(task.model_class(), model, "model", self.config)
                if missing and not trained_anew:
                    raise CompressionError(
                        untrained.format(model=model, tensor=missing[0], number=len(missing), task=task.name)
                    )


def open_inputs(
    model: str | FreshModel | None,
    data: Data | None,
    task: Task | None,
    tokenizer: str | FreshTokenizer | None = None,
    *,
    seed: int = 0,
    fit: bool = True,
    trained_anew: bool = False,
    untrained: str = UNTRAINED,
    saved_tokenizer: Path | None = None,
    measured: Measured | HeldOut | None = None,
    problems: list[Problem] | None = None,
) -> Opened:
    """Open everything and see that it fits together; nothing is written, no weight is read.

    What is None was refused elsewhere: the others are then opened each by itself, so that a refusal is complete.

    Args:
        model: a folder, a Hub id or a config for fresh weights.
        data: where rows come from.
        task: what becomes of them; without one, columns are not looked at.
        tokenizer: instead of the model's.
        seed: of splits that are cut, and of rows that are left out.
        fit: also see that they fit together, train a fresh tokenizer and prepare the examples.
        trained_anew: the job trains the head first, so it may be new or mean other labels.
        untrained: the refusal of a checkpoint without a head; {model}, {tensor}, {number} and {task} are filled in.
        saved_tokenizer: one that was trained before, in place of a fresh one.
        measured: the model is finished, and may be quantized; these rows become `test`.
        problems: added to, in place of an exception; what could be opened is returned then.

    Raises:
        RecipeError: with everything that was refused.
    """
    found = Found([] if problems is None else problems)
    before = len(found.problems)
    opened = Opened()
    with found.collecting():
        if data is not None:
            opened.raw, opened.labels = open_data(data, task, seed, measured)
    with found.collecting():
        if model is not None:
            opened.base = open_model(model, task, finished=measured is not None)
    with found.collecting():
        # Also where the model itself was refused.
        if isinstance(tokenizer, str) and (task is None or task.takes_tokenizer):
            opened.processor = load_tokenizer(tokenizer)
    if fit and task is not None and model is not None:
        opened.task, opened.model = task, model
        with found.collecting():
            if isinstance(tokenizer, FreshTokenizer) and saved_tokenizer is not None:
                opened.processor = load_tokenizer(str(saved_tokenizer))
            elif isinstance(tokenizer, FreshTokenizer):
                if opened.raw and data is not None and data.streaming:
                    logger.warning("the tokenizer is trained on the first rows of the stream alone")
                texts = task.texts(opened.raw["train"]) if opened.raw else None
                opened.processor = train_on_main(tokenizer, texts, "; ".join(map(str, found.problems)))
            elif tokenizer is None and opened.base is not None:
                opened.processor = task.load_processor(model, opened.base, opened.raw)
            if opened.processor is not None and tokenizer is not None and opened.base is not None:
                opened.processor = task.with_tokenizer(opened.processor, model, opened.base)
            if opened.processor is not None:
                task.finish_processor(opened.processor, fresh=isinstance(tokenizer, FreshTokenizer))
        if opened.base is not None:
            opened.fit(found, opened.base, tokenizer, trained_anew, untrained, finished=measured is not None)
        if len(found.problems) == before:
            opened.facts = task.describe(opened.raw, opened.processor)
            with found.collecting():
                if opened.skeleton is not None and (opened.processor is not None or isinstance(tokenizer, FreshTokenizer)):
                    opened.raw = task.fit_rows(opened.raw, opened.skeleton, opened.processor)
            if data is not None and len(found.problems) == before:
                with found.collecting():
                    opened.examples, facts = prepare_examples(task, data, opened.raw, opened.processor, opened.labels, seed)
                    opened.facts |= facts
            for name, fact in opened.facts.items():
                logger.info("%s: %s", name, fact)
    if problems is None:
        found.refuse()
    return opened


def inputs(model: str | None = None, data: Data | None = None, task: Task | None = None, seed: int = 0) -> Opened:
    """Model and examples, found to fit together; the opener of a job that has these fields and a trained model.

    Raises:
        RecipeError: see `open_inputs`.
    """
    return open_inputs(model, data, task, seed=seed)


def open_data(
    data: Data, task: Task | None, seed: int, measured: Measured | HeldOut | None = None
) -> tuple[Splits, list[str]]:
    """The raw splits, or those of `load_measured`, and the names of their labels; without a task columns are not looked at.

    Raises:
        CompressionError: the data cannot be had, or lacks what the task reads.
    """
    if data.streaming and task is not None and not task.streams:
        raise CompressionError(
            f"data.streaming: {task.name} looks at all training rows before the first step, so it takes no stream; leave it"
            " out"
        )
    splits = load_splits(data, seed) if measured is None else load_measured(data, measured, seed)
    labels: list[str] = []
    if task is not None:
        splits = {name: with_files(split, task.columns(), data) for name, split in splits.items()}
        check_all(lambda: task.check_data(splits, data), lambda: labels.extend(task.label_names(splits, data)))
    return splits, labels


def open_model(model: str | FreshModel, task: Task | None, finished: bool = False) -> "PretrainedConfig":
    """The config as the checkpoint or the recipe says it, before data and processor have a say.

    Raises:
        CompressionError: the model is not there, has unknown keys, is quantized already and to be trained, or no model for
            the task.
    """
    if isinstance(model, FreshModel):
        check_keys(model, () if task is None else task.decided)
    config = load_config(model, {})
    if getattr(config, "quantization_config", None) is not None and not finished:
        raise CompressionError(
            f"model: {model} is quantized already, and its weights cannot be trained; name the dense model"
        )
    if task is not None:
        require_architecture(task.model_class(), config, "model")
    return config


def open_teacher(teacher: str, task: Task | None, key: str) -> "PretrainedConfig":
    """The config of a teacher's checkpoint; a refusal names `key`.

    Raises:
        CompressionError: it is not there, or no model for the task.
    """
    from transformers import AutoConfig

    config: PretrainedConfig = from_pretrained(AutoConfig, teacher, key)
    if task is not None:
        require_architecture(task.model_class(), config, key)
    return config
