"""What data-aware merge methods need to know of a model, collected on a task's training examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress._problems import Problem, problems_in
from hf_compress.calibration.folder import save_statistics
from hf_compress.calibration.statistics_ import collect_fisher, collect_gram
from hf_compress.inputs.labels import order_labels
from hf_compress.inputs.models import (
    load_image_processor,
    load_model,
    load_tokenizer,
    new_weights,
    num_positions,
    skeleton,
)
from hf_compress.inputs.paths import check_output_dir, expand
from hf_compress.inputs.sections import Data
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.fit import check_kind, check_length, check_vocabulary
from hf_compress.tasks.opened import open_data, open_model
from hf_compress.tasks.task import TASKS


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


@dataclass(frozen=True, kw_only=True)
class CollectStatistics(Recipe, name="collect-statistics"):
    """Run a trained model over training examples and write its statistics under the names of its checkpoint.

    Attributes:
        model: a folder or Hub id.
        task: a row of the task table.
        data: where examples come from; `max_train` says how many rows.
        statistics: "fisher" (one example at a time, a backward pass per class or token model) and "gram".
        labels: whose y the Fisher takes: "expected" over the classes (classifiers), "sampled" from the model, or "true".
        batch_size: examples at once, for gram matrices.
        output_dir: gets a folder for each statistic; must not exist.
        seed: of the choice of rows and of "sampled".
    """

    model: str
    task: Literal["causal_lm", "sequence_classification", "image_classification"]
    data: Data
    statistics: tuple[Literal["fisher", "gram"], ...] = ("fisher",)
    labels: Literal["expected", "sampled", "true"] | None = None
    batch_size: int = 16
    output_dir: str
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.statistics:
            raise CompressionError("statistics is empty; name fisher, gram or both")
        if self.batch_size < 1:
            raise CompressionError(f"batch_size={self.batch_size} must be 1 or more")
        if self.task == "causal_lm" and self.labels == "expected":
            raise CompressionError("labels='expected' sums over classes, and causal_lm has none; write sampled or true")

    def preflight(self) -> list[Problem]:
        """What is wrong with the data, the model or the folder."""
        return problems_in(lambda: open_inputs(self))

    def run(self, resume: bool = False) -> Any:
        """Collect and write them; there is nothing to resume."""
        return run_statistics(self)


def open_inputs(job: CollectStatistics) -> tuple[Any, Any, Any]:
    """Config, processor and prepared training examples.

    Raises:
        CompressionError: data, model or folder cannot be used.
    """
    check_output_dir(job.output_dir)
    task = TASKS[job.task]
    splits, labels = open_data(job.data, task, job.seed)
    config = open_model(job.model, task)
    missing = new_weights(task.model_class(), job.model, "model", config)
    if missing:
        raise CompressionError(
            f"model: {job.model} has no {missing[0]} ({len(missing)} tensors are missing), so it was not trained for"
            f" {job.task}; name a model that was"
        )
    if labels:
        labels = order_labels(labels, config, job.model, task.model_class(), trained_anew=False)
    processor = load_image_processor(job.model, config) if task.input == "image" else load_tokenizer(job.model)
    check_kind(task, config)
    check_length(task, job.data.length, num_positions(skeleton(task.model_class(), config)))
    check_vocabulary(task, processor, config)
    return config, processor, task.prepare(splits, processor, job.data, labels)["train"]


def run_statistics(job: CollectStatistics) -> CollectedStatistics:
    """Collect what the job asks for.

    Raises:
        CompressionError: see `open_inputs`.
    """
    config, processor, examples = open_inputs(job)
    task = TASKS[job.task]
    model = load_model(task.model_class(), job.model, config, job.seed)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model.to(device)  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(job.statistics):
        loader = DataLoader(examples, batch_size=job.batch_size, collate_fn=task.collator(processor))
        shown = tqdm(loader, desc=f"collecting {name}", disable=not _distributed.is_main())
        batches = ({key: value.to(device) for key, value in batch.items()} for batch in shown)
        if name == "fisher":
            labels = job.labels or ("expected" if task.labelled else "sampled")
            found[name] = collect_fisher(model, batches, labels=labels, seed=job.seed)
        else:
            found[name] = collect_gram(model, batches)
    out = expand(job.output_dir, "output_dir")
    model.cpu()
    with written_beside(out) as part:
        folders = save_statistics(model, part, **found)
        names = {name: str(out / Path(folder).name) for name, folder in folders.items()}
    return CollectedStatistics(folders=names, num_examples=len(examples))
