"""Task loss and distillation losses as one chunked sum."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.distillation.chunked import chunked_sum
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.features import Positions, feature_sum
from hf_compress.distillation.loss import DistillationLoss, FeatureLoss, RowLoss
from hf_compress.distillation.signal import Kind, Rows, Signal
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
            gives = set(distillation.teacher.gives)
            others = DistillationLoss.available().items()
            known = [name for name, loss in others if kind in loss.kinds and gives.issuperset(loss.needs)]
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
    student: Signal,
    labels: Tensor,
    teacher: Signal,
    kind: Kind,
    shift_labels: Tensor | None = None,
    token_metrics: bool = False,
    projections: Mapping[int, nn.Module] = MappingProxyType({}),
    inputs: Mapping[str, Any] = MappingProxyType({}),
) -> Sums:
    """The weighted sum of all terms over the valid positions of one micro-batch.

    Args:
        distillation: weights and losses.
        student: its logits, (B, T, V) or (B, V), and what else the losses need, attached to the graph.
        labels: as the task has them.
        teacher: its answer, logits shaped like the student's (with `teacher.common` classes, where that is set).
        kind: the task's loss.
        shift_labels: labels that are already shifted, where the collator made them.
        token_metrics: the student's entropy and accuracy as well.
        projections: the trained parts of losses, by their place in `distillation.losses`.
        inputs: the batch, for its attention mask.

    Raises:
        CompressionError: the teacher's answer is shaped differently, or a loss is not defined for `kind`.
    """
    assert student.logits is not None  # the task loss is computed from them
    logits, common = student.logits, teacher.common
    rows = task_rows(logits, labels, kind, shift_labels)
    flat = _flat(logits, teacher)
    weight = sum(term.weight for term in distillation.losses)
    task_weight = distillation.effective_task_weight
    by_rows = [(term.weight, term.loss) for term in distillation.losses if isinstance(term.loss, RowLoss)]

    def chunk_loss(student: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        chosen = rows.labels[index]
        task = task_loss_sum(student, chosen, kind)
        distilled = agreed = compared = student.new_zeros(())
        if flat is not None:
            keep = rows.keep[index]
            target = Rows(logits=flat[index].float(), kind=kind)
            shared = student if common is None else student[:, :common]  # a slice costs a copy in the backward pass
            terms = [factor * loss(shared, target, keep) for factor, loss in by_rows]
            distilled = sum(terms[1:], start=terms[0]) if terms else distilled
            agreed, compared = _agreement(shared, target)
        more = _token_metrics(student, chosen) if token_metrics else ()
        items = student.new_full((), chosen.numel())
        return task_weight * task + distilled, task, distilled / weight, agreed, compared, items, *more

    sums = Sums(*chunked_sum(rows.logits, rows.keep, chunk_loss))
    inside = _inside(distillation, student, teacher, projections, Positions(inputs, logits.shape[0], rows))
    if inside is None:
        return sums
    return sums._replace(total=sums.total + inside, distilled=sums.distilled + inside.detach() / weight)


def _flat(logits: Tensor, teacher: Signal) -> Tensor | None:
    """The teacher's logits (N, V), where losses need them."""
    if teacher.logits is None:
        return None
    classes = logits.shape[-1] if teacher.common is None else teacher.common
    if teacher.logits.shape != (*logits.shape[:-1], classes):
        raise CompressionError(
            f"the teacher's logits have shape {tuple(teacher.logits.shape)} and the student's {tuple(logits.shape)}; both"
            " must see the same positions and classes"
        )
    return teacher.logits.reshape(-1, classes)


def _inside(
    distillation: Distillation,
    student: Signal,
    teacher: Signal,
    projections: Mapping[int, nn.Module],
    positions: Positions,
) -> Tensor | None:
    """The weighted sum of the losses on what happens inside the models; None without one."""
    if student.logits is not None and teacher.common is not None:
        student = replace(student, logits=student.logits[..., : teacher.common])
    terms = [
        term.weight * feature_sum(term.loss, projections.get(place), student, teacher, positions)
        for place, term in enumerate(distillation.losses)
        if isinstance(term.loss, FeatureLoss)
    ]
    return sum(terms[1:], start=terms[0]) if terms else None


def task_objective(logits: Tensor, labels: Tensor, kind: Kind, shift_labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(task loss, items): the task's part of the above alone, where there is no teacher."""
    rows = task_rows(logits, labels, kind, shift_labels)

    def chunk_loss(student: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        chosen = rows.labels[index]
        return task_loss_sum(student, chosen, kind), student.new_full((), chosen.numel())

    total, items = chunked_sum(rows.logits, rows.keep, chunk_loss)
    return total, items


@torch.no_grad()
def _agreement(student: Tensor, teacher: Rows) -> tuple[Tensor, Tensor]:
    """(rows or labels on which both decide alike, how many were looked at)."""
    if teacher.kind == "regression":
        return student.new_zeros(()), student.new_zeros(())
    if teacher.kind == "multi_label":
        alike = (student > 0) == (teacher.logits > 0)
    else:
        stride = AGREEMENT_STRIDE if student.numel() > LARGE_CHUNK else 1
        student = student[::stride]
        best = teacher.logits[::stride].max(-1, keepdim=True).indices
        alike = student.gather(-1, best).squeeze(-1) >= student.amax(-1)
    return alike.sum(dtype=torch.float32), student.new_full((), alike.numel())


@torch.no_grad()
def _token_metrics(student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(entropy in nats, rows whose most likely class is the label), both summed."""
    log_probabilities = torch.log_softmax(student, dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum()
    correct = student.gather(-1, labels.unsqueeze(-1)).squeeze(-1) >= student.amax(-1)
    return entropy, correct.sum(dtype=torch.float32)
