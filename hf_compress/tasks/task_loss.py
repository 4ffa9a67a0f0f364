"""The task's own loss as a sum over rows, so that it can be chunked and split like the distillation losses.

The losses inside transformers' heads return means, and those of BERT, T5 and Whisper ignore the number of items in the
accumulated batch, which makes them too large by the number of accumulation steps; so with distillation on, the task loss is
computed here, from logits and labels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress.distillation.signal import Kind
from hf_compress.tasks.heads import HEADS, head_named, loss_type, shifts_labels

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class TaskRows:
    """A batch cut into rows that each carry one term of the loss.

    Attributes:
        logits: (N, V), attached to the graph.
        labels: (N,) class ids, or (N, V) targets for multi_label, (N, 1) for regression.
        keep: (N,) bool, True = counts.
    """

    logits: Tensor
    labels: Tensor
    keep: Tensor


def task_kind(model: nn.Module, labels: Tensor | None = None) -> Kind:
    """Which loss belongs to the model's head.

    Args:
        model: a transformers model; its `loss_type` and config decide.
        labels: a batch's labels, which tell single-label from multi-label where the config does not say.

    Raises:
        CompressionError: the head is of a kind that distillation does not know.
    """
    head = head_named(loss_type(model))
    kind = None if head is None else head.rows
    if kind is None:
        raise CompressionError(
            f"distillation knows no task loss for {type(model).__name__}; it knows models for "
            + ", ".join(sorted(head.name.removeprefix("For") for head in HEADS if head.rows is not None))
            + "; where the head is one of them by another name, say so: model.loss_type = 'ForCausalLM'"
        )
    config: Any = model.config
    if kind == "shifted_tokens" and not shifts_labels(model):
        return "tokens"
    if kind == "single_label":
        problem: str | None = getattr(config, "problem_type", None)
        if problem is None:
            if config.num_labels == 1:
                problem = "regression"
            elif labels is not None and labels.is_floating_point():
                problem = "multi_label_classification"
        if problem == "regression":
            return "regression"
        if problem == "multi_label_classification":
            return "multi_label"
    return kind


def has_items(labels: Tensor, kind: Kind, shift_labels: Tensor | None = None) -> bool:
    """Whether `task_rows` would keep a row of a batch; arguments as there."""
    if kind in ("multi_label", "regression"):
        return labels.numel() > 0
    if kind == "shifted_tokens":
        labels = labels[..., 1:] if shift_labels is None else shift_labels
    return bool((labels != IGNORED).any())


def task_rows(logits: Tensor, labels: Tensor, kind: Kind, shift_labels: Tensor | None = None) -> TaskRows:
    """Cut a batch into rows.

    Args:
        logits: (B, T, V) for tokens, (B, V) for labels of whole examples.
        labels: (B, T), (B,) or (B, V); -100 = does not count.
        kind: `shifted_tokens` pairs the logits at t with the label at t + 1.
        shift_labels: (B, T) labels that are already shifted, where the collator made them.

    Raises:
        CompressionError: logits and labels do not fit together.
    """
    if kind == "shifted_tokens":
        if shift_labels is None:
            # The last position predicts nothing; a label of -100 there keeps logits in one piece, without a copy.
            shift_labels = functional.pad(labels[..., 1:], (0, 1), value=IGNORED)
        labels = shift_labels
    width = logits.shape[-1]
    rows = logits.reshape(-1, width)
    if kind == "multi_label":
        flat = labels.reshape(-1, width)
        return TaskRows(logits=rows, labels=flat, keep=torch.ones_like(flat[:, 0], dtype=torch.bool))
    if kind == "regression":
        flat = labels.reshape(-1, width)
        return TaskRows(logits=rows, labels=flat, keep=torch.ones_like(flat[:, 0], dtype=torch.bool))
    flat = labels.reshape(-1)
    if flat.shape[0] != rows.shape[0]:
        raise CompressionError(
            f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} do not fit together; labels"
            " must have one entry per position"
        )
    return TaskRows(logits=rows, labels=flat, keep=flat != IGNORED)


def task_loss_sum(logits: Tensor, labels: Tensor, kind: Kind) -> Tensor:
    """The task loss summed over rows, in nats (squared units for regression).

    Args:
        logits: (n, V) fp32.
        labels: as in `TaskRows`, kept rows only.
        kind: cross-entropy for tokens and single labels, binary cross-entropy over all entries for multi_label, squared
            error for regression.
    """
    if kind == "multi_label":
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
    if kind == "regression":
        return functional.mse_loss(logits, labels.to(logits.dtype), reduction="sum")
    return functional.cross_entropy(logits, labels, reduction="sum")
