"""What members say about labelled rows, looked at before anything is fitted or measured on it."""

import torch
from torch import Tensor

from hf_compress._errors import CompressionError


def check_members(logits: Tensor) -> None:
    """Refuse logits of members that nothing can be learned from.

    Args:
        logits: (M, N, C).

    Raises:
        CompressionError: another number of dimensions, whole numbers, no members, no rows or a single class; NaN or an
            infinite logit, with the member's place.
    """
    if logits.ndim != 3 or not logits.is_floating_point():
        raise CompressionError(
            f"logits of shape {tuple(logits.shape)} and type {logits.dtype}; expected are (members, rows, classes) in a"
            " floating-point type"
        )
    num_members, num_rows, num_classes = logits.shape
    if not num_members or not num_rows:
        raise CompressionError(f"logits have {num_members} members and {num_rows} rows; give at least one of each")
    if num_classes < 2:
        raise CompressionError("logits have a single class, so there is nothing to tell apart; give two or more")
    for member, own in enumerate(logits):
        wrong = (~own.isfinite().all(-1)).nonzero().flatten()
        if len(wrong):
            raise CompressionError(
                f"member {member} has NaN or infinite logits in {len(wrong)} of {num_rows} rows, the first of them row"
                f" {int(wrong[0])}; look at its model, or leave these rows out"
            )


def check_labels(labels: Tensor, num_rows: int, num_classes: int) -> None:
    """Refuse labels that are not one class for each row.

    Raises:
        CompressionError: another shape, numbers that are not whole, or a label outside of 0 ... num_classes - 1.
    """
    if labels.shape != (num_rows,):
        raise CompressionError(f"labels of shape {tuple(labels.shape)} for {num_rows} rows; give one label for each row")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        raise CompressionError(f"labels are {labels.dtype}; classes are numbered with whole numbers")
    outside = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
    if len(outside):
        row = int(outside[0])
        raise CompressionError(
            f"row {row} has label {int(labels[row])}, outside of 0 to {num_classes - 1}; leave rows without a label out"
        )


def checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Members' logits (M, N, C) and labels (N,), found to be good, on the CPU and without gradients.

    Raises:
        CompressionError: as `check_members` and `check_labels` say.
    """
    check_members(logits)
    check_labels(labels, *logits.shape[1:])
    return logits.detach().cpu(), labels.detach().cpu().long()


def mean_nll(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """-mean_n log p_n[label_n] in nats: (..., N, C), (N,) -> (...)."""
    return -at_labels(log_probabilities, labels).mean(-1)


def at_labels(values: Tensor, labels: Tensor) -> Tensor:
    """What stands at each row's label: (..., N, C), (N,) -> (..., N)."""
    places = labels.reshape(-1, 1).expand(*values.shape[:-1], 1)
    return values.gather(-1, places).squeeze(-1)
