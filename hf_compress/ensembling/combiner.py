"""The contract of a combiner, and what combiners share.

The functions below the class, and the files of combiners/, need torch alone: they go along as text with a published
ensemble, which must run where this library is not installed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy


@dataclass(frozen=True, kw_only=True)
class Combiner(Strategy, kind="combiner", package="hf_compress.ensembling.combiners"):
    """Makes one distribution of what several models say about the same rows.

    The order of the members changes nothing, a member with weight 0 counts as absent, and a NaN in any member shows in the
    result. Values are not looked at, because that would wait for the device at every token.

    Attributes:
        idempotent: members that say the same give just that; where not, the docstring says what they give.
    """

    idempotent: ClassVar[bool] = True

    def combine(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """Combine the members' logits.

        Args:
            logits: (M, ..., C), of C exclusive classes. A class at -inf has probability 0 for its member.
            weights: (M,), or (M, ...) with weights for each row; at least 0, of any sum. None = equal.

        Returns:
            (..., C) log-probabilities in fp32, or in fp64 where the logits are; they sum to 1 as probabilities. NaN where
            a logit is NaN, a weight is negative, or all weights are 0.

        Raises:
            ValueError: the weights have another shape.
        """
        raise TypeError(f"{type(self).__name__} defines no combine()")


def check_weights(weights: Sequence[float] | None, num_members: int, names: Sequence[str] = ()) -> None:
    """Refuse weights that mean nothing, before any model is loaded.

    Args:
        weights: None for equal ones.
        num_members: that there should be one for each of.
        names: of the members, where they are known.

    Raises:
        CompressionError: there is not one per member, one is negative or not finite, all are 0, or they sum to
            what fp32 does not hold.
    """
    if weights is None:
        return
    if len(weights) != num_members:
        raise CompressionError(f"{len(weights)} weights for {num_members} members; give one weight per member, or none")
    for place, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight >= 0):
            whose = f"the weight of member {names[place]!r}" if names else f"weight {place}"
            raise CompressionError(f"{whose} is {weight}; weights are finite numbers, 0 or more, of any sum")
    if not any(weights):
        raise CompressionError("all weights are 0; give at least one member a weight above 0")
    total = sum(weights)
    if not 1e-30 < total < 1e30:  # arithmetic is fp32, which would make 0 or infinity of it
        raise CompressionError(
            f"the weights sum to {total:.3g}, which is outside of 1e-30 to 1e30; scale all of them alike"
        )


def widened(logits: Tensor) -> Tensor:
    """In fp32, or in fp64 where they are: sums over a vocabulary are too long for half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def log_probabilities(logits: Tensor) -> Tensor:
    """The log softmax over the classes, widened: (..., C) -> (..., C)."""
    return torch.log_softmax(widened(logits), -1)


def normalised(weights: Tensor | None, logits: Tensor) -> Tensor:
    """Shares of the members, which sum to 1, in the shape and type that multiply with logits.

    Args:
        weights: (M,), (M, ...) or None, as `Combiner.combine` takes them.
        logits: (M, ..., C), widened.

    Returns:
        (M, 1, ..., 1), or (M, ..., 1) where every row has weights of its own. All NaN in a row with a negative weight or
        without one above 0.

    Raises:
        ValueError: the weights have another shape.
    """
    members, rows = logits.shape[0], logits.shape[1:-1]
    if weights is None:
        weights = logits.new_ones(members)
    if weights.shape == (members,):
        shares = weights.reshape(members, *(1 for _ in rows), 1)
    elif weights.shape == (members, *rows):
        shares = weights.unsqueeze(-1)
    else:
        wanted = f"({members},)" + (f" or {(members, *rows)}" if rows else "")
        raise ValueError(f"weights of shape {tuple(weights.shape)} for {members} members; their shape must be {wanted}")
    shares = shares.to(logits)
    shares = shares.masked_fill(shares < 0, math.nan)
    return shares / shares.sum(0, keepdim=True)


def weighted_sum(values: Tensor, shares: Tensor) -> Tensor:
    """sum_m shares_m values_m: (M, ..., C) -> (..., C). A member of share 0 is left out, also where it has -inf."""
    return (shares * values).masked_fill((shares == 0) & values.isneginf(), 0.0).sum(0)
