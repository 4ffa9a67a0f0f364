"""A classifier that learns from what the members say."""

import logging
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.labelled_rows import checked, mean_nll
from hf_compress.ensembling.modelling.features import member_features

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FittedStacking:
    """log p = log softmax(W x + b), x the members' log-probabilities one after the other; log-losses are mean nats per row.

    Attributes:
        weight: W, (C, M * C) in fp64.
        bias: b, (C,) in fp64.
        nll: on the rows that it was fitted on.
        nll_held_out: of every row by a classifier fitted without the row's fold; None without folds.
        accuracy_held_out: the share of rows that such a classifier answers rightly; None without folds.
    """

    weight: Tensor
    bias: Tensor
    nll: float
    nll_held_out: float | None = None
    accuracy_held_out: float | None = None

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """(M, ..., C) -> (..., C), in fp32, or in fp64 where the logits are."""
        x = member_features(logits)
        return torch.log_softmax(x @ self.weight.to(x).T + self.bias.to(x), -1)


def fit_stacking(
    logits: Tensor,
    labels: Tensor,
    *,
    strength: float = 0.03,
    folds: Tensor | None = None,
    max_iterations: int = 1000,
) -> FittedStacking:
    """Multinomial logistic regression: minimises mean_n -log p_n[label_n] + strength / 2 |W|^2, by scikit-learn.

    Args:
        logits: (M, N, C). Row n comes from members that were not trained on row n: rows of their own, or out-of-fold
            predictions, where each row is predicted by members trained on the other folds.
        labels: (N,) classes, every class at least once.
        strength: of the penalty, above 0; b has none.
        folds: (N,) the fold of each row, to measure with: a classifier is fitted for each fold without it. The result is
            fitted on all rows.
        max_iterations: of L-BFGS; a warning says if they did not suffice.

    Raises:
        CompressionError: logits, labels, strength or folds cannot be used, or a class is without rows.

    Source: Wolpert 1992, on probabilities as Ting and Witten 1999.
    """
    if not strength > 0:
        raise CompressionError(f"strength={strength!r} must be above 0; a small one such as 1e-6 hardly counts")
    logits, labels = checked(logits, labels)
    logits = logits.double()
    held_out = (None, None) if folds is None else _held_out(logits, labels, strength, folds, max_iterations)
    weight, bias = _fit(logits, labels, strength, max_iterations, "the rows")
    made = FittedStacking(weight=weight, bias=bias, nll=0.0)
    nll = float(mean_nll(made.log_probabilities(logits), labels))
    return FittedStacking(weight=weight, bias=bias, nll=nll, nll_held_out=held_out[0], accuracy_held_out=held_out[1])


def _held_out(logits: Tensor, labels: Tensor, strength: float, folds: Tensor, max_iterations: int) -> tuple[float, float]:
    """The log-loss and the accuracy."""
    folds = folds.detach().cpu()
    if folds.shape != labels.shape:
        raise CompressionError(f"folds of shape {tuple(folds.shape)} for {len(labels)} rows; give the fold of each row")
    names = folds.unique()
    if len(names) < 2:
        raise CompressionError("folds names a single fold, without which no row is left; give two or more, or none")
    total, right = 0.0, 0
    for name in names:
        inside = folds == name
        where = f"the rows outside of fold {name.item()}"
        weight, bias = _fit(logits[:, ~inside], labels[~inside], strength, max_iterations, where)
        predicted = FittedStacking(weight=weight, bias=bias, nll=0.0).log_probabilities(logits[:, inside])
        total += float(mean_nll(predicted, labels[inside])) * int(inside.sum())
        right += int((predicted.argmax(-1) == labels[inside]).sum())
    return total / len(labels), right / len(labels)


def _fit(logits: Tensor, labels: Tensor, strength: float, max_iterations: int, where: str) -> tuple[Tensor, Tensor]:
    """W (C, M * C) and b (C,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    num_rows, num_classes = logits.shape[1:]
    missing = sorted(set(range(num_classes)) - set(labels.tolist()))
    if missing:
        raise CompressionError(
            f"{where} have no example of class {missing[0]}, so nothing is learned of it; give examples of every class"
        )
    # scikit-learn adds |W|^2 / 2 to C times a sum. Of two classes it fits the difference v of their rows alone; halves of
    # it, v / 2 and -v / 2, have |W|^2 = |v|^2 / 2.
    inverse = (2 if num_classes == 2 else 1) / (strength * num_rows)
    model = LogisticRegression(C=inverse, max_iter=max_iterations, tol=1e-7)
    # b has no penalty, so features less their mean have the same minimum, and it is found in far fewer steps.
    x = member_features(logits)
    mean = x.mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in the words of this library
        model.fit((x - mean).numpy(), labels.numpy())
    if max(model.n_iter_) >= max_iterations:
        logger.warning("%d iterations were too few to fit the stacking classifier on %s", max_iterations, where)
    weight = torch.from_numpy(model.coef_).double()
    bias = torch.from_numpy(model.intercept_).double() - weight @ mean
    if num_classes == 2:
        weight, bias = torch.cat((-weight, weight)) / 2, torch.cat((-bias, bias)) / 2
    return weight, bias
