"""What data-aware merge methods need to know of a model, collected on a task's training examples."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import DataLoader

from hf_compress._errors import CompressionError
from hf_compress._folders import free_place, written_beside
from hf_compress.calibration.collect import collect
from hf_compress.calibration.folder import save_statistics
from hf_compress.calibration.statistic import GradientStatistic, Labels, Statistic, statistics_of
from hf_compress.calibration.statistics.fisher import FisherDiagonal
from hf_compress.inputs.labels import order_labels
from hf_compress.inputs.models import load_model, new_weights, num_positions, skeleton
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import Data
from hf_compress.inputs.tokenizers import load_tokenizer
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.fit import check_kind, check_length, check_vocabulary
from hf_compress.tasks.opened import open_data, open_model
from hf_compress.tasks.task import TASKS

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class CollectedStatistics:
    """What the job left behind.

    Attributes:
        folders: statistic -> folder, as a merge's member names it.
        num_examples: how many were read.
    """

    folders: dict[str, str]
    num_examples: int

    def summary(self) -> str:
        """What the command line says at the end."""
        named = ", ".join(f"{name}: {folder}" for name, folder in self.folders.items())
        return f"from {self.num_examples} examples; in a merge's member write\n  statistics: {{{named}}}"


def some_statistics(statistics: Sequence[Statistic]) -> None:
    """There is something to collect, and each statistic in one way."""
    if not statistics:
        raise CompressionError(f"statistics is empty; name one or more of {', '.join(Statistic.available())}")
    statistics_of(statistics)


def labels_of_gradients(statistics: Sequence[Statistic], labels: Labels | None) -> None:
    """Only gradients are taken at labels."""
    if labels is not None and statistics and not any(one.needs_gradient for one in statistics):
        names = ", ".join(one.name for one in statistics)
        raise CompressionError(f"labels={labels!r} is for statistics of gradients, and {names} has none; leave it out")


def a_batch(batch_size: int) -> None:
    """A batch has examples."""
    if batch_size < 1:
        raise CompressionError(f"batch_size={batch_size} must be 1 or more")


def expected_of_classes(task: str, labels: Labels | None, statistics: Sequence[Statistic] = ()) -> None:
    """Only what has classes has an expectation over them."""
    given = {labels, *(one.labels for one in statistics if isinstance(one, GradientStatistic))}
    if task == "causal_lm" and "expected" in given:
        raise CompressionError("labels='expected' sums over classes, and causal_lm has none; write sampled or true")


def place(output_dir: str) -> Path:
    """Where the statistics will be."""
    return free_place(output_dir, "output_dir")


def rows(data: Data, task: str = "", seed: int = 0) -> tuple[dict[str, "Dataset"], list[str]]:
    """The splits and the names of their labels."""
    return open_data(data, TASKS.get(task), seed)


def config(model: str, task: str = "") -> "PretrainedConfig":
    """The model's config."""
    return open_model(model, TASKS.get(task))


def trained(config: "PretrainedConfig", model: str, task: str) -> None:
    """The model has all weights of its task."""
    missing = new_weights(TASKS[task].model_class(), model, "model", config)
    if missing:
        raise CompressionError(
            f"model: {model} has no {missing[0]} ({len(missing)} tensors are missing), so it was not trained for"
            f" {task}; name a model that was"
        )


def processor(config: "PretrainedConfig", model: str, task: str) -> Any:
    """Tokenizer or image processor of the model."""
    return load_image_processor(model, config) if TASKS[task].input == "image" else load_tokenizer(model)


def fits(config: "PretrainedConfig", processor: Any, data: Data, task: str) -> None:
    """Model, task and tokens fit together."""
    kind = TASKS[task]
    check_kind(kind, config)
    check_length(kind, data.length, num_positions(skeleton(kind.model_class(), config)))
    check_vocabulary(kind, processor, config)


def examples(
    fits: None,
    trained: None,
    rows: tuple[dict[str, "Dataset"], list[str]],
    processor: Any,
    config: "PretrainedConfig",
    data: Data,
    model: str,
    task: str,
) -> "Dataset":
    """The training rows as the model takes them, labels in the model's order."""
    splits, labels = rows
    kind = TASKS[task]
    if labels:
        labels = order_labels(labels, config, model, kind.model_class(), trained_anew=False)
    return kind.prepare(splits, processor, data, labels)["train"]


@dataclass(frozen=True, kw_only=True)
class CollectStatistics(Recipe, name="collect-statistics"):
    """Run a trained model over training examples and write its statistics under the names of its checkpoint.

    Attributes:
        model: a folder or Hub id.
        task: a row of the task table.
        data: where examples come from; `max_train` says how many rows.
        statistics: what to collect, e.g. fisher (one example at a time, a backward pass per class or token model) and gram.
        labels: whose y gradients are taken at: "expected" over the classes (classifiers), "sampled" from the model, or
            "true"; a statistic may say its own, {name: fisher, labels: sampled}.
        batch_size: examples at once, for statistics of inputs.
        output_dir: gets a folder for each statistic; must not exist.
        seed: of the choice of rows and of "sampled", where a statistic says none of its own.
    """

    model: str
    task: Literal["causal_lm", "sequence_classification", "image_classification"]
    data: Data
    statistics: tuple[Statistic, ...] = (FisherDiagonal(),)
    labels: Labels | None = None
    batch_size: int = 16
    output_dir: str
    seed: int = 0

    checks = (some_statistics, labels_of_gradients, a_batch, expected_of_classes)
    opens = (place, rows, config, trained, processor, fits, examples)

    def wanted(self) -> list[Statistic]:
        """The statistics, each once, with the labels and the seed of the job where they have none of their own."""
        return [
            dataclasses.replace(one, labels=one.labels or self.labels, seed=self.seed if one.seed is None else one.seed)
            if isinstance(one, GradientStatistic)
            else one
            for one in statistics_of(self.statistics)
        ]

    def run(self, resume: bool = False) -> Any:
        """Collect and write them; there is nothing to resume."""
        return run_statistics(self)


def run_statistics(job: CollectStatistics) -> CollectedStatistics:
    """Collect what the job asks for.

    Raises:
        RecipeError: data, model or folder cannot be used.
    """
    opened = job.open()
    config, processor, examples = opened["config"], opened["processor"], opened["examples"]
    task = TASKS[job.task]
    model = load_model(task.model_class(), job.model, config, job.seed)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model.to(device)  # type: ignore[arg-type]
    loader = DataLoader(examples, batch_size=job.batch_size, collate_fn=task.collator(processor))
    wanted = job.wanted()
    found = collect(model, loader, wanted, progress=f"collecting {', '.join(one.name for one in wanted)}")
    out = opened["place"]
    model.cpu()
    with written_beside(out) as part:
        folders = save_statistics(model, part, **found)
        names = {name: str(out / Path(folder).name) for name, folder in folders.items()}
    return CollectedStatistics(folders=names, num_examples=len(examples))
