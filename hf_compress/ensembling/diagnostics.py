"""What members, and what they make together, are worth on labelled rows: log-loss, calibration, and how alike errors are.

All figures are in fp64. Log-probabilities are (N, C), labels (N,), members' logits or log-probabilities (M, N, C).
"""

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.labelled_rows import check_labels, check_members, mean_nll


def nll(log_probabilities: Tensor, labels: Tensor) -> float:
    """Log-loss: the mean of -log p_n[label_n], in nats per row.

    Raises:
        CompressionError: there are no rows, a number is NaN, or the labels are not one class for each row.
    """
    return float(mean_nll(*_checked(log_probabilities, labels)))


def brier(log_probabilities: Tensor, labels: Tensor) -> float:
    """The mean of sum_c (p_nc - [c = label_n])^2, in [0, 2].

    Source: Brier 1950, over all classes.

    Raises:
        CompressionError: there are no rows, a number is NaN, or the labels are not one class for each row.
    """
    log_probabilities, labels = _checked(log_probabilities, labels)
    wanted = torch.nn.functional.one_hot(labels, log_probabilities.shape[-1])
    return float(((log_probabilities.exp() - wanted) ** 2).sum(-1).mean())


def ece(log_probabilities: Tensor, labels: Tensor, num_bins: int = 15, adaptive: bool = False) -> float:
    """Expected calibration error: sum_b n_b / N |accuracy_b - confidence_b|, in [0, 1].

    Rows are binned by the probability of their likeliest class: bin b is (b / num_bins, (b + 1) / num_bins], or, if
    adaptive, rows in the order of that probability are cut into num_bins bins of N / num_bins rows, as even as whole rows
    allow; equal probabilities keep the order of the rows. The number depends on the bins: compare only with the same.

    Args:
        log_probabilities: (N, C).
        labels: (N,).
        num_bins: 1 or more.
        adaptive: bins of equally many rows instead of equal width.

    Raises:
        CompressionError: there are no rows, a number is NaN, the labels are not one class for each row, or no bins.

    Source: Guo et al. 2017, equation 3; bins of equally many rows: Nguyen and O'Connor 2015.
    """
    log_probabilities, labels = _checked(log_probabilities, labels)
    if num_bins < 1:
        raise CompressionError(f"num_bins={num_bins} must be 1 or more; 15 is usual")
    largest, predicted = log_probabilities.max(-1)
    confidence, right = largest.exp(), (predicted == labels).double()
    num_rows = len(labels)
    if adaptive:
        order = confidence.argsort(stable=True)
        confidence, right = confidence[order], right[order]
        bins = torch.arange(num_rows, device=labels.device) * num_bins // num_rows
    else:
        edges = torch.arange(1, num_bins, dtype=confidence.dtype, device=labels.device) / num_bins
        bins = torch.bucketize(confidence, edges)  # the edge itself belongs to the bin below
    gaps = torch.zeros(num_bins, dtype=torch.float64, device=labels.device).index_add(0, bins, right - confidence)
    return float(gaps.abs().sum() / num_rows)


def disagreement(logits: Tensor) -> Tensor:
    """(M, N, C) -> (M, M): the share of rows on which two members' likeliest classes differ; 0 on the diagonal.

    Raises:
        CompressionError: there are no rows, or a member has NaN or infinite logits.
    """
    check_members(logits)
    classes = logits.argmax(-1)
    return (classes.unsqueeze(0) != classes.unsqueeze(1)).double().mean(-1)


def error_correlation(logits: Tensor, labels: Tensor) -> Tensor:
    """(M, N, C), (N,) -> (M, M): Pearson's correlation of two members' errors (1 where wrong, 0 where right), in [-1, 1].

    The lower, the more they can do for one another. NaN for a member that is right on all rows, or wrong on all: its
    errors do not vary.

    Raises:
        CompressionError: there are no rows, a member has NaN or infinite logits, or the labels are not one class per row.
    """
    check_members(logits)
    check_labels(labels, *logits.shape[1:])
    wrong = (logits.argmax(-1) != labels.to(logits.device)).double()
    centred = wrong - wrong.mean(-1, keepdim=True)
    unit = centred / centred.norm(dim=-1, keepdim=True)
    return (unit @ unit.T).clamp(-1, 1)


def _checked(log_probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if log_probabilities.ndim != 2 or not log_probabilities.is_floating_point() or not log_probabilities.numel():
        raise CompressionError(
            f"log-probabilities of shape {tuple(log_probabilities.shape)} and type {log_probabilities.dtype}; expected are"
            " (rows, classes) in a floating-point type, with at least one of each"
        )
    unknown = log_probabilities.isnan().any(-1).nonzero().flatten()
    if len(unknown):
        raise CompressionError(f"row {int(unknown[0])} has NaN for a log-probability; look at what it was made of")
    values = log_probabilities.detach().double()
    sums = values.exp().sum(-1)
    wrong = ((sums - 1).abs() > 0.05).nonzero().flatten()  # half precision may be off by some of it
    if len(wrong):
        row = int(wrong[0])
        raise CompressionError(
            f"the probabilities of row {row} sum to {float(sums[row]):.3g}, not to 1; give log-probabilities, not logits"
        )
    check_labels(labels, *values.shape)
    return values, labels.to(values.device).long()
