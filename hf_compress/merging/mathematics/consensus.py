"""Task vectors, and how those of several members become one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.operands import Operands


def task_vector(operands: Operands, member: int, compat: Compat = "paper") -> Tensor:
    """tensors[member] - base, a new fp32 tensor; with `rounds_differences` subtracted in the stored type.

    Raises:
        CompressionError: it is not finite.
    """
    if differences(compat).rounds_differences:
        assert operands.base is not None, operands.name
        vector = (operands.tensors[member] - operands.base).float()
    else:
        vector = operands.delta(member)
    # A sum costs a fraction of isfinite, and NaN and infinities do not leave it; a finite sum that overflows is looked at.
    if not math.isfinite(vector.sum().item()) and not vector.isfinite().all():
        assert operands.base is not None, operands.name
        culprit = operands.members[member] if operands.base.isfinite().all() else "the base"
        raise CompressionError(
            f"{operands.name}: {culprit} holds NaN or infinite numbers, which a merge would spread to the result; repair"
            " that checkpoint or leave it out"
        )
    return vector


def weighted_sum(vectors: Sequence[Tensor], weights: Sequence[float], normalize: bool, compat: Compat) -> Tensor:
    """sum_i w_i v_i, divided by sum_i w_i with `normalize`.

    Args:
        vectors: M of one shape, fp32; overwritten.
        weights: M.
        normalize: whether to divide.
        compat: with `takes_zero_sum` there is no division where the divisor is below 1e-8.
    """
    first, *rest = vectors
    merged = first.mul_(weights[0])
    for vector, weight in zip(rest, weights[1:], strict=True):
        merged.add_(vector.mul_(weight))
    divisor = sum(weights)
    if not normalize or (differences(compat).takes_zero_sum and abs(divisor) < 1e-8):
        return merged
    return merged.div_(divisor)


def disjoint_mean(vectors: Sequence[Tensor], weights: Sequence[float], normalize: bool, compat: Compat) -> Tensor:
    """Elects a sign per element and averages the members that have it.

        vote_i = w_i v_i        sign = sgn(sum_i vote_i)        A = {i: sgn(vote_i) = sign, sign != 0}
        merged = sum_{i in A} w_i v_i / sum_{i in A} |w_i|

    With equal weights these are the equations of TIES (Yadav et al. 2023, section 4). Weights there are none in the paper;
    here they count in the vote and in the mean. An element whose votes cancel becomes 0, as does one that nobody changes.

    Args:
        vectors: M of one shape, fp32; overwritten.
        weights: M.
        normalize: divide; otherwise the sum stays.
        compat: with `cancelled_votes_elect_plus` they elect plus; with `signed_divisor` it is the sum of w_i, not of |w_i|
            (the same for positive weights; 0 counts as 1); with `unweighted_votes` sign and A come from the v_i, and the
            divisor is the number of members in A.
    """
    differs = differences(compat)
    if not differs.unweighted_votes:
        for vector, weight in zip(vectors, weights, strict=True):
            vector.mul_(weight)
    sign = vectors[0].clone()
    for vector in vectors[1:]:
        sign.add_(vector)
    sign.sign_()
    if differs.cancelled_votes_elect_plus:
        sign.add_(0.5).sign_()  # 0 becomes +1
    merged, divisor = torch.zeros_like(sign), torch.zeros_like(sign)
    agrees = torch.empty_like(sign)
    for vector, weight in zip(vectors, weights, strict=True):
        # A comparison and a boolean mask would cost several times as much as these; all of them are exact.
        vector.mul_(sign).clamp_min_(0)
        if normalize:
            share = 1.0 if differs.unweighted_votes else weight if differs.signed_divisor else abs(weight)
            divisor.add_(torch.sign(vector, out=agrees), alpha=share)
        merged.add_(vector.mul_(weight) if differs.unweighted_votes else vector)
    merged.mul_(sign)
    return merged.div_(divisor.add_(torch.eq(divisor, 0, out=agrees))) if normalize else merged
