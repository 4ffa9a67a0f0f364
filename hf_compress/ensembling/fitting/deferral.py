"""What makes a cascade pass a row on, learned from rows of which it is known who is right."""

from typing import Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import log_probabilities
from hf_compress.ensembling.confidences.learned_deferral import LearnedDeferral, deferral_features
from hf_compress.ensembling.labelled_rows import checked

Learns = Literal["gain", "right"]
BESIDE = 3
"""Features that are no log-probability of a further class."""


def fit_deferral(
    logits: Tensor, labels: Tensor, *, learns: Learns = "gain", top: int = 3, strength: float = 0.01
) -> tuple[LearnedDeferral, ...]:
    """A score for every stage of a cascade but the last, by logistic regression on what the stage says of a row.

    It minimises mean_n -log P(y_n) + strength / 2 |v|^2, v the weights of the features less their mean and divided by their
    standard deviation; the intercept has no penalty. y says that the stage's answer is to be kept.

    Args:
        logits: (M, N, C), of rows that no member was trained on, members from cheap to dear.
        labels: (N,) classes.
        learns: "gain": a row is to be passed on where this stage is wrong and the last one right, and nowhere else, since
            asking on changes nothing where both are wrong; "right": it is to be kept where this stage is right.
        top: the log-probabilities of the second to the `top`-th class are features too, as far as there are classes.
        strength: of the penalty, above 0.

    Returns:
        M - 1 scores. Where all rows of a stage are to be kept, or none, it is the same for all: what such rows leave open
        by Laplace's rule, (kept + 1) / (N + 2).

    Raises:
        CompressionError: logits, labels or numbers cannot be used, or there is a single member.
    """
    logits, labels = checked(logits, labels)
    if len(logits) < 2 or learns not in ("gain", "right") or top < 1 or not strength > 0:
        raise CompressionError(
            f"{len(logits)} members, learns={learns!r}, top={top} and strength={strength} given; expected are two members"
            " or more, gain or right, 1 or more, and a number above 0"
        )
    rows = log_probabilities(logits.double())
    right = rows.argmax(-1) == labels
    count = BESIDE + min(top, rows.shape[-1]) - 1
    kept = [own if learns == "right" else own | ~right[-1] for own in right[:-1]]
    return tuple(_fit(deferral_features(own, count), keep, strength) for own, keep in zip(rows[:-1], kept, strict=True))


def _fit(x: Tensor, y: Tensor, strength: float) -> LearnedDeferral:
    """Of features (N, F) and whether each row's answer is to be kept."""
    from sklearn.linear_model import LogisticRegression

    num_kept, num_rows = int(y.sum()), len(y)
    if num_kept in (0, num_rows):
        odds = torch.tensor((num_kept + 1) / (num_rows - num_kept + 1), dtype=torch.float64).log()
        return LearnedDeferral(weights=(0.0,) * x.shape[1], bias=float(odds))
    mean, deviation = x.mean(0), x.std(0, unbiased=False)
    deviation = torch.where(deviation > 1e-9, deviation, torch.inf)  # what never varies says nothing
    model = LogisticRegression(C=1 / (strength * num_rows), max_iter=1000, tol=1e-8)
    model.fit(((x - mean) / deviation).numpy(), y.numpy())
    weights = torch.from_numpy(model.coef_[0]).double() / deviation
    return LearnedDeferral(weights=tuple(weights.tolist()), bias=float(model.intercept_[0]) - float(weights @ mean))
