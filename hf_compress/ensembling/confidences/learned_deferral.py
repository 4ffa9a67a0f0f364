"""How likely a stage's answer is to be the one to keep, as a small logistic regression has learned it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import widened
from hf_compress.ensembling.confidence import Confidence

FARTHEST = 20.0
"""Log odds and log-probabilities beyond count as this: 2e-9 is as impossible as anything."""


@dataclass(frozen=True, kw_only=True)
class LearnedDeferral(Confidence, name="learned_deferral"):
    """1 / (1 + exp(-(w f + b))), f of a row: log(p_(1) / (1 - p_(1))), p_(1) - p_(2), 1 - H(p) / log C, log p_(2), ...

    p_(k) is the k-th largest probability. As many features are read as there are weights. `fit_deferral` learns them for
    each stage; unlearned it is the largest probability itself.

    Attributes:
        weights: w, one or more.
        bias: b.

    Source: a score that is learned beside the model instead of read off it, as Geifman, El-Yaniv 2019; the regression is
    Platt's (1999) with more features.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Geifman, El-Yaniv",
        title="SelectiveNet: A Deep Neural Network with an Integrated Reject Option",
        year=2019,
        link="https://arxiv.org/abs/1901.09192",
    )

    weights: tuple[float, ...] = (1.0,)
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not self.weights or not all(math.isfinite(number) for number in (*self.weights, self.bias)):
            raise CompressionError(
                f"weights={list(self.weights)} and bias={self.bias} must be finite numbers, one weight or more; fit them"
                " with fit_deferral"
            )

    def score(self, log_probabilities: Tensor) -> Tensor:
        """(..., C) -> (...)."""
        features = deferral_features(log_probabilities, len(self.weights)).unbind(-1)
        # Numbers and no tensor of them, which the branches of an exported graph cannot hold.
        weighted = torch.stack([weight * one for weight, one in zip(self.weights, features, strict=True)])
        return torch.sigmoid(weighted.sum(0) + self.bias)


def deferral_features(log_probabilities: Tensor, count: int) -> Tensor:
    """(..., C) -> (..., count), as `LearnedDeferral` says; what is behind the last class is that of an impossible one."""
    rows = widened(log_probabilities)
    num_classes = rows.shape[-1]
    ordered = rows.sort(-1, descending=True).values
    first, others = ordered[..., :1], ordered[..., 1:]
    odds = (first - others.logsumexp(-1, keepdim=True)).clamp(-FARTHEST, FARTHEST)
    ahead = first.exp() - others[..., :1].exp().sum(-1, keepdim=True)
    entropy = torch.special.entr(rows.exp()).sum(-1, keepdim=True) / math.log(max(num_classes, 2))
    known = torch.cat((odds, ahead.clamp(0, 1), (1 - entropy).clamp(0, 1), others.clamp_min(-FARTHEST)), -1)
    missing = known[..., :1].new_full((*known.shape[:-1], max(0, count - known.shape[-1])), -FARTHEST)
    return torch.cat((known, missing), -1)[..., :count]
