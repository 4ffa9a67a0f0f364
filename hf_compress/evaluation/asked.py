"""What one model answers to a split: its logits where a row is one of several classes, and its metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.ensembling.combiner import log_probabilities
from hf_compress.ensembling.diagnostics import brier, ece, nll
from hf_compress.ensembling.labelled_rows import at_labels
from hf_compress.evaluation.bootstrap import Quantity
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.likelihoods import likelihoods
from hf_compress.evaluation.measure import intervals_of
from hf_compress.evaluation.token_likelihoods import token_likelihoods
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.metrics.counted import Counted
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.row_kind import IGNORED
from hf_compress.tasks.task import Task

PROBABILITIES = {"nll": False, "ece": False, "brier": False}
"""What is measured of whole rows beside the task's metrics, and whether more of it is better."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Of one model and split.

    Attributes:
        metrics: what it reached.
        intervals: of those that have one.
        logits: (N, C) in fp32, of the rows with a label; None where rows are not one class each.
        labels: (N,), by the model's ids; None as the logits.
        likelihoods: (N,), see `token_likelihoods`; None where they were not asked for.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    logits: Tensor | None = None
    labels: Tensor | None = None
    likelihoods: Tensor | None = None

    @property
    def num_nan(self) -> int:
        """Rows that are answered with NaN; without logits all of them where a number of theirs is NaN."""
        if self.logits is not None:
            return int(self.logits.isnan().any(-1).sum())
        return self.num_rows if any(math.isnan(value) for value in self.metrics.values()) else 0

    @property
    def num_rows(self) -> int:
        """Rows that were asked about, or tokens."""
        return int(self.metrics.get("num_examples", self.metrics.get("num_tokens", 1)))


def has_classes(task: Task) -> bool:
    """Whether every row of the task is one of several classes, so that its logits can be kept and looked at."""
    return task.logit_rows == "single_label"


def ask(
    model: Any,
    opened: Opened,
    split: str,
    batch_size: int,
    metrics: Sequence[Metric],
    description: str,
    *,
    likelihoods: bool = False,
) -> Asked:
    """Run a model over a split.

    Args:
        model: in eval mode, on the device where it is measured.
        opened: task, processor and examples.
        split: which examples.
        batch_size: examples at once.
        metrics: beside the task's own.
        description: the progress bar's label.
        likelihoods: also keep what each token was given, by one more pass.

    Raises:
        CompressionError: no row has a label.
    """
    if has_classes(opened.task):
        logits, labels = _classified(model, opened, split, batch_size, description)
        return measured(logits, labels, opened, split, metrics)
    task, kept = opened.task, Kept()
    examples, rows = opened.examples[split], opened.raw[split]
    found = task.evaluate(model, examples, rows, opened.processor, batch_size, description, (*metrics, kept))
    compared = None if task.predicts is None else task.all_metrics(metrics)
    each = token_likelihoods(model, opened, split, batch_size, f"{description}, tokens") if likelihoods else None
    return Asked(metrics=found, intervals=intervals_of(kept, found, compared), likelihoods=each)


@torch.no_grad()
def _classified(model: Any, opened: Opened, split: str, batch_size: int, description: str) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and labels (N,) of the rows with a label, on the CPU."""
    batches = opened.task.batches(opened.examples[split], opened.processor, batch_size)
    answers, labels = [], []
    for batch in progress(batches, description, leave=False):
        keep = batch["labels"] != IGNORED
        answers.append(model(**model_inputs(batch, model)).logits.float().cpu()[keep])
        labels.append(batch["labels"][keep])
    if not sum(map(len, labels)):
        raise CompressionError(f"data.path: no row of the {split} split has a label")
    return torch.cat(answers), torch.cat(labels)


def measured(logits: Tensor, labels: Tensor, opened: Opened, split: str, metrics: Sequence[Metric]) -> Asked:
    """The metrics of logits (N, C) at labels (N,): the task's, log-loss, calibration error, Brier score.

    Args:
        logits: of the rows with a label.
        labels: their classes.
        opened: of which they are.
        split: as well.
        metrics: beside the task's own.

    Returns:
        Metrics that are all NaN where an answer is.
    """
    task, kept = opened.task, Kept()
    compared = task.all_metrics(metrics)
    decode = task.decoder(opened.examples[split], opened.raw[split], opened.processor)
    assert decode is not None, task.name
    counted = Counted([*compared, kept], decode)
    counted.add(logits, labels)
    found = counted.result()
    more: list[Quantity] = []
    broken = bool(logits.isnan().any())
    own = log_probabilities(logits.double())
    for name, measure in (("nll", nll), ("ece", ece), ("brier", brier)):
        found[name] = float("nan") if broken else measure(own, labels)
    if not broken:
        more = [likelihoods(-at_labels(own, labels).numpy(), numpy.ones(len(labels)), ("nll",))]
    if broken:  # of a row without an answer the likeliest class is whatever stands first
        found = dict.fromkeys(found, float("nan"))
    found["num_examples"] = len(labels)
    return Asked(
        metrics=found,
        intervals={} if broken else intervals_of(kept, found, compared, more=more),
        logits=logits,
        labels=labels,
    )
