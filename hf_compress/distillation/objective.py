"""Task loss and distillation losses as one chunked sum."""

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.distillation.chunked import chunked_sum
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.signal import Signal
from hf_compress.distillation.task_loss import Kind, task_loss_sum, task_rows


def distillation_objective(
    distillation: Distillation,
    logits: Tensor,
    labels: Tensor,
    signal: Signal,
    kind: Kind,
    shift_labels: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of all terms over the valid positions of one micro-batch.

    Args:
        distillation: weights and losses.
        logits: the student's, (B, T, V) or (B, V), attached to the graph.
        labels: as the task has them.
        signal: the teacher's answer, shaped like `logits`.
        kind: the task's loss.
        shift_labels: labels that are already shifted, where the collator made them.

    Returns:
        (total, task, distillation): scalar sums; total carries the gradient, the others are for logs. The caller divides
        by the number of items in the accumulated batch.

    Raises:
        CompressionError: the teacher's logits are shaped differently.
    """
    if signal.logits.shape != logits.shape:
        raise CompressionError(
            f"the teacher's logits have shape {tuple(signal.logits.shape)} and the student's {tuple(logits.shape)}; both"
            " must see the same positions and classes"
        )
    if kind == "regression":
        raise CompressionError("forward_kl compares class distributions, and this model predicts a number (num_labels=1)")
    rows = task_rows(logits, labels, kind, shift_labels)
    flat = signal.flat()

    def chunk_loss(student: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep = rows.keep[index]
        teacher = flat.rows(index)
        terms = [term.weight * term.loss(student, teacher, keep) for term in distillation.losses]
        distilled = sum(terms[1:], start=terms[0])
        task = distillation.effective_task_weight * task_loss_sum(student, rows.labels[index], kind)
        return task + distilled, task, distilled

    sums = chunked_sum(rows.logits, rows.keep, chunk_loss)
    return sums[0], sums[1], sums[2]
