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
from hf_compress.tasks.row_kind import RowKind, TaskRows

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


def check_kind(distillation: Distillation, kind: RowKind, model: str) -> None:
    """Refuse losses that say nothing about rows of this kind.

    Raises:
        CompressionError: naming the loss, the model and the losses that would do.
    """
    for term in distillation.losses:
        if kind.name not in term.loss.kinds:
            gives = set(distillation.teacher.gives)
            others = DistillationLoss.available().items()
            known = [name for name, loss in others if kind.name in loss.kinds and gives.issuperset(loss.needs)]
            raise CompressionError(
                f"{term.loss.name} is not defined for {kind.predicts}, which {model} predicts; take "
                + (" or ".join(known) if known else "another model")
            )


def distillation_objective(
    distillation: Distillation,
    student: Signal,
    teacher: Signal,
    targets: Mapping[str, Tensor],
    kind: RowKind,
    facts: Mapping[str, Any] = MappingProxyType({}),
    token_metrics: bool = False,
    projections: Mapping[int, nn.Module] = MappingProxyType({}),
) -> Sums:
    """The weighted sum of all terms over the valid positions of one micro-batch.

    Args:
        distillation: weights and losses.
        student: its logits, (B, T, V) or (B, V), and what else the losses need, attached to the graph.
        teacher: its answer, logits shaped like the student's (with `teacher.common` classes, where that is set).
        targets: labels as the task has them, and `shift_labels` where the collator made them.
        kind: what a row is, and the task's loss.
        facts: the batch's other inputs, e.g. its attention mask, and what the head said of it.
        token_metrics: the student's entropy and accuracy as well.
        projections: the trained parts of losses, by their place in `distillation.losses`.

    Raises:
        CompressionError: the teacher's answer is shaped differently, or a loss is not defined for `kind`.
    """
    assert student.logits is not None  # the task loss is computed from them
    student = replace(student, logits=kind.prepared(student.logits, facts))
    if teacher.logits is not None:
        teacher = replace(teacher, logits=kind.prepared(teacher.logits, facts))
    logits, common = student.logits, teacher.common
    assert logits is not None
    rows = kind.rows(logits, targets, facts)
    flat = _flat(logits, teacher)
    weight = sum(term.weight for term in distillation.losses)
    task_weight = distillation.effective_task_weight
    name: Any = kind.name  # one of `Kind`
    by_rows = [(term.weight, term.loss) for term in distillation.losses if isinstance(term.loss, RowLoss)]

    def chunk_loss(student: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        task = _task_sum(kind, student, rows, index)
        distilled = agreed = compared = student.new_zeros(())
        if flat is not None:
            target, keep = flat[index].float(), rows.keep[index]
            shared = student if common is None else student[:, :common]  # a slice costs a copy in the backward pass
            weights = None if rows.weights is None else rows.weights[index]
            terms = [factor * _weighted(loss, shared, target, keep, name, weights) for factor, loss in by_rows]
            distilled = sum(terms[1:], start=terms[0]) if terms else distilled
            agreed, compared = _agreement(kind, shared, target)
        more = _token_metrics(student, rows.labels[index]) if token_metrics and rows.labels is not None else ()
        return task_weight * task + distilled, task, distilled / weight, agreed, compared, *more

    total, task, distilled, agreed, compared, *more = chunked_sum(rows.logits, rows.keep, chunk_loss)
    if rows.whole is not None:
        total, task = total + task_weight * rows.whole, rows.whole.detach()
    inside = _inside(distillation, student, teacher, projections, Positions(facts, logits.shape[0], rows))
    if inside is not None:
        total, distilled = total + inside, distilled + inside.detach() / weight
    return Sums(total, task, distilled, agreed, compared, kind.divisor(rows.items), *more)


def _task_sum(kind: RowKind, student: Tensor, rows: TaskRows, index: Tensor) -> Tensor:
    """The task loss of a chunk; 0 where it is no sum over rows."""
    # A sum over nothing, and not a constant: a chunk is differentiated also where only whole losses are.
    return student[:0].sum() if rows.labels is None else kind.loss_sum(student, rows.labels[index])


def _weighted(loss: RowLoss, student: Tensor, teacher: Tensor, keep: Tensor, kind: Kind, weights: Tensor | None) -> Tensor:
    """A loss on rows, of which those of one example count alike."""
    if weights is None:
        return loss(student, Rows(logits=teacher, kind=kind), keep)
    counts = weights.unique_consecutive(return_counts=True)[1].tolist()
    parts = [tensor.split(counts) for tensor in (student, teacher, keep, weights)]
    return torch.stack(
        [
            weight[0] * loss(own, Rows(logits=other, kind=kind), kept)
            for own, other, kept, weight in zip(*parts, strict=True)
        ]
    ).sum()


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


def task_objective(
    logits: Tensor, targets: Mapping[str, Tensor], kind: RowKind, facts: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Tensor, Tensor]:
    """(task loss, items): the task's part of the above alone, where there is no teacher."""
    rows = kind.rows(kind.prepared(logits, facts), targets, facts)
    if rows.whole is not None:
        return rows.whole, kind.divisor(rows.items)
    (total,) = chunked_sum(rows.logits, rows.keep, lambda student, index: (_task_sum(kind, student, rows, index),))
    return total, kind.divisor(rows.items)


@torch.no_grad()
def _agreement(kind: RowKind, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """(decisions that both make alike, how many were looked at)."""
    return kind.agreement(student, teacher, AGREEMENT_STRIDE if student.numel() > LARGE_CHUNK else 1)


@torch.no_grad()
def _token_metrics(student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(entropy in nats, rows whose most likely class is the label), both summed."""
    log_probabilities = torch.log_softmax(student, dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum()
    correct = student.gather(-1, labels.unsqueeze(-1)).squeeze(-1) >= student.amax(-1)
    return entropy, correct.sum(dtype=torch.float32)
