"""Task loss and distillation losses as one chunked sum."""

from typing import NamedTuple

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.distillation.chunked import chunked_sum
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.signal import Kind, Signal
from hf_compress.tasks.task_loss import task_loss_sum, task_rows

AGREEMENT_STRIDE = 8
"""In large chunks the top-1 agreement is counted on every eighth row: looking for the largest of all numbers would cost a
twentieth to a fifth of the losses."""

LARGE_CHUNK = 65_536
"""Logits in a chunk from which on it is large; smaller ones are counted whole."""


class Sums(NamedTuple):
    """Sums over the valid rows of one micro-batch; fp32 scalars, only `total` carries a gradient.

    Attributes:
        total: task_weight * task + sum_i weight_i * loss_i; the caller divides by the items of the accumulated batch.
        task: the task loss, unweighted.
        distilled: the mean of the distillation losses by their weights, so that with one loss it is that loss, unweighted.
        agreed: rows (entries, for independent labels) whose most likely class is the teacher's too.
        compared: how many were looked at; 0 for numbers.
        items: what the task loss is divided by: valid rows, or entries.
        entropy: of the student's distributions, in nats, where asked for.
        correct: rows whose most likely class is the label, where asked for.
    """

    total: Tensor
    task: Tensor
    distilled: Tensor
    agreed: Tensor
    compared: Tensor
    items: Tensor
    entropy: Tensor | None = None
    correct: Tensor | None = None


def check_kind(distillation: Distillation, kind: Kind, model: str) -> None:
    """Refuse losses that say nothing about rows of this kind.

    Raises:
        CompressionError: naming the loss, the model and the losses that would do.
    """
    for term in distillation.losses:
        if kind not in term.loss.kinds:
            known = [name for name, loss in type(term.loss).available().items() if kind in loss.kinds]
            raise CompressionError(
                f"{term.loss.name} is not defined for {_MEANING[kind]}, which {model} predicts; take "
                + (" or ".join(known) if known else "another model")
            )


_MEANING: dict[Kind, str] = {
    "shifted_tokens": "tokens",
    "tokens": "tokens",
    "single_label": "classes",
    "multi_label": "independent labels",
    "regression": "numbers (regression)",
}


def distillation_objective(
    distillation: Distillation,
    logits: Tensor,
    labels: Tensor,
    signal: Signal,
    kind: Kind,
    shift_labels: Tensor | None = None,
    token_metrics: bool = False,
) -> Sums:
    """The weighted sum of all terms over the valid positions of one micro-batch.

    Args:
        distillation: weights and losses.
        logits: the student's, (B, T, V) or (B, V), attached to the graph.
        labels: as the task has them.
        signal: the teacher's answer, shaped like `logits` (with `signal.common` classes, where that is set).
        kind: the task's loss.
        shift_labels: labels that are already shifted, where the collator made them.
        token_metrics: the student's entropy and accuracy as well.

    Raises:
        CompressionError: the teacher's logits are shaped differently, or a loss is not defined for `kind`.
    """
    classes = logits.shape[-1] if signal.common is None else signal.common
    if signal.logits.shape != (*logits.shape[:-1], classes):
        raise CompressionError(
            f"the teacher's logits have shape {tuple(signal.logits.shape)} and the student's {tuple(logits.shape)}; both"
            " must see the same positions and classes"
        )
    rows = task_rows(logits, labels, kind, shift_labels)
    flat = Signal(logits=signal.logits, kind=kind).flat()
    weight = sum(term.weight for term in distillation.losses)
    task_weight = distillation.effective_task_weight

    def chunk_loss(student: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        keep = rows.keep[index]
        teacher = flat.rows(index)
        shared = student if signal.common is None else student[:, :classes]  # a slice costs a copy in the backward pass
        terms = [term.weight * term.loss(shared, teacher, keep) for term in distillation.losses]
        distilled = sum(terms[1:], start=terms[0])
        chosen = rows.labels[index]
        task = task_loss_sum(student, chosen, kind)
        more = _token_metrics(student, chosen) if token_metrics else ()
        items = student.new_full((), chosen.numel())
        return task_weight * task + distilled, task, distilled / weight, *_agreement(shared, teacher), items, *more

    return Sums(*chunked_sum(rows.logits, rows.keep, chunk_loss))


def task_objective(logits: Tensor, labels: Tensor, kind: Kind, shift_labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(task loss, items): the task's part of the above alone, where there is no teacher."""
    rows = task_rows(logits, labels, kind, shift_labels)

    def chunk_loss(student: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        chosen = rows.labels[index]
        return task_loss_sum(student, chosen, kind), student.new_full((), chosen.numel())

    total, items = chunked_sum(rows.logits, rows.keep, chunk_loss)
    return total, items


@torch.no_grad()
def _agreement(student: Tensor, signal: Signal) -> tuple[Tensor, Tensor]:
    """(rows or labels on which both decide alike, how many were looked at)."""
    if signal.kind == "regression":
        return student.new_zeros(()), student.new_zeros(())
    if signal.kind == "multi_label":
        alike = (student > 0) == (signal.logits > 0)
    else:
        stride = AGREEMENT_STRIDE if student.numel() > LARGE_CHUNK else 1
        student, teacher = student[::stride], signal.logits[::stride]
        best = teacher.max(-1, keepdim=True).indices
        alike = student.gather(-1, best).squeeze(-1) >= student.amax(-1)
    return alike.sum(dtype=torch.float32), student.new_full((), alike.numel())


@torch.no_grad()
def _token_metrics(student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(entropy in nats, rows whose most likely class is the label), both summed."""
    log_probabilities = torch.log_softmax(student, dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum()
    correct = student.gather(-1, labels.unsqueeze(-1)).squeeze(-1) >= student.amax(-1)
    return entropy, correct.sum(dtype=torch.float32)
