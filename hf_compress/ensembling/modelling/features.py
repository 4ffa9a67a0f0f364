"""What a learner that stands above the members sees of a row."""

import torch
from torch import Tensor

from hf_compress.ensembling.combiner import log_probabilities

LOWEST = -30.0
"""Log-probabilities below count as this (1e-13): how impossible a class is moves nothing further."""


def member_features(logits: Tensor) -> Tensor:
    """The members' log-probabilities, one member after the other: (M, ..., C) -> (..., M * C), at least `LOWEST`."""
    return log_probabilities(logits).clamp_min(LOWEST).movedim(0, -2).flatten(-2)


def member_entropies(logits: Tensor) -> Tensor:
    """H(p_m) in nats: (M, ..., C) -> (..., M)."""
    return torch.special.entr(log_probabilities(logits).exp()).sum(-1).movedim(0, -1)
