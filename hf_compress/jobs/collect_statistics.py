"""What data-aware merge methods need to know of a model, collected on a task's training examples."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress.calibration.collect import collect
from hf_compress.calibration.folder import save_statistics
from hf_compress.calibration.statistic import GradientStatistic, Labels, Statistic, statistics_of
from hf_compress.calibration.statistics.fisher import FisherDiagonal
from hf_compress.inputs.place import place
from hf_compress.inputs.sections import Data
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.opened import inputs
from hf_compress.tasks.task import Task


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


def a_number_of_rows(data: Data) -> None:
    """Statistics are of rows that are counted."""
    if data.streaming:
        raise CompressionError(
            "data.streaming: statistics are of a number of rows, which a stream has not; leave it out, and write max_train"
        )


def expected_of_classes(task: Task, labels: Labels | None, statistics: Sequence[Statistic] = ()) -> None:
    """Only what has classes has an expectation over them."""
    given = {labels, *(one.labels for one in statistics if isinstance(one, GradientStatistic))}
    if task.logit_rows != "single_label" and "expected" in given:
        raise CompressionError(
            f"labels='expected' sums over classes of a whole row, and {task.name} has none; write sampled or true"
        )


@dataclass(frozen=True, kw_only=True)
class CollectStatistics(Recipe, name="collect-statistics"):
    """Run a trained model over training examples and write its statistics under the names of its checkpoint.

    Attributes:
        model: a folder or Hub id.
        task: what the model is for, with the columns it reads.
        data: where examples come from; `max_train` says how many rows.
        statistics: what to collect, e.g. fisher (one example at a time, a backward pass per class or token model) and gram.
        labels: whose y gradients are taken at: "expected" over the classes (classifiers), "sampled" from the model, or
            "true"; a statistic may say its own, {name: fisher, labels: sampled}.
        batch_size: examples at once, for statistics of inputs.
        output_dir: gets a folder for each statistic; must not exist.
        seed: of the choice of rows and of "sampled", where a statistic says none of its own.
    """

    model: str
    task: Task
    data: Data
    statistics: tuple[Statistic, ...] = (FisherDiagonal(),)
    labels: Labels | None = None
    batch_size: int = 16
    output_dir: str
    seed: int = 0

    checks = (some_statistics, labels_of_gradients, a_batch, a_number_of_rows, expected_of_classes)
    opens = (place, inputs)
    after_interruption = "the same command begins again"

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
    found = job.open()
    out, opened = found["place"], found["inputs"]
    examples = opened.examples["train"]
    model = opened.load_model(job.seed)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model.to(device)  # type: ignore[arg-type]
    loader = DataLoader(examples, batch_size=job.batch_size, collate_fn=opened.task.collator(opened.processor))
    wanted = job.wanted()
    collected = collect(model, loader, wanted, progress=f"collecting {', '.join(one.name for one in wanted)}")
    model.cpu()
    with written_beside(out) as part:
        folders = save_statistics(model, part, **collected)
        names = {name: str(out / Path(folder).name) for name, folder in folders.items()}
    return CollectedStatistics(folders=names, num_examples=len(examples))
