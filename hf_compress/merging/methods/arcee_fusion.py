"""Arcee Fusion: the member's weight where its change stands out, the base's elsewhere."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.weights import refuse_weights
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import CHUNK, Operands

_ADDED = 1e-8
"""What is added to probabilities in fp32."""


@dataclass(frozen=True, kw_only=True)
class ArceeFusion(MergeMethod, name="arcee_fusion"):
    """merged = member where importance > median + fence * (Q3 - Q1), else base, for one member.

    importance = |member - base| * KL(softmax(member) || softmax(base)), with one divergence for each row along the last
    dimension (in nats). Median and quartiles are of the whole tensor, the order statistics at floor((n - 1) q).

    Attributes:
        fence: how many interquartile ranges above the median a change must be; 1.5 is Tukey's rule for outliers, about a
            tenth of the weights. Larger moves fewer.
        compat: "mergekit" takes the divergence in fp32, with 1e-8 added to probabilities in the quotient. Where models
            differ little its terms nearly cancel, so that rounding decides which rows count, and can make it negative.

    Source: Arcee AI 2025, which describes importance, threshold and mask in words; which divergence, along which dimension
    and which quartiles are meant, is what mergekit 0.1.5 answers on random tensors (equal to the element).
    """

    fence: float = 1.5
    compat: Compat = "paper"

    needs_base: ClassVar[bool] = True
    num_members: ClassVar[tuple[int, int | None]] = (1, 1)
    whole: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Arcee AI",
        title="Meet MergeKit v0.1: Arcee Fusion, Expanded Model Support, Multi-GPU Acceleration",
        year=2025,
        link="https://www.arcee.ai/blog/meet-mergekit-v0-1-arcee-fusion-expanded-model-support-multi-gpu-acceleration",
        equation="importance scoring, dynamic thresholding, selective integration",
    )

    def __post_init__(self) -> None:
        if not self.fence >= 0:
            raise CompressionError(f"fence={self.fence!r} is negative; it counts interquartile ranges, 1.5 is usual")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "arcee_fusion", "set fence instead")

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        base, member = operands.base, operands.tensors[0]
        assert base is not None, operands.name
        if not member.numel():
            return base.float()
        importance = operands.delta(0).abs_()
        width = member.shape[-1] if member.dim() else 1
        divergence = _divergence_in_fp32 if differences(self.compat).divergence_in_fp32 else _divergence
        importance.view(-1, width).mul_(divergence(member.reshape(-1, width), base.reshape(-1, width)))
        first, median, third = (_order_statistic(importance, quarter) for quarter in (1, 2, 3))
        return torch.where(importance > median + self.fence * (third - first), member.float(), base.float())


def _divergence(member: Tensor, base: Tensor) -> Tensor:
    """(N, 1) fp32: KL(softmax(member) || softmax(base)) of every row of (N, W).

    In fp64, as the terms nearly cancel where two models differ little.
    """
    rows = max(1, CHUNK // member.shape[1])
    found = []
    for start in range(0, member.shape[0], rows):
        ours, theirs = (each[start : start + rows].double().log_softmax(-1) for each in (member, base))
        found.append((ours.exp() * (ours - theirs)).sum(-1, keepdim=True))
    return torch.cat(found).clamp_min(0).float()


def _divergence_in_fp32(member: Tensor, base: Tensor) -> Tensor:
    """The same in fp32, with the rounding that this brings."""
    ours, theirs = (each.float().softmax(-1) for each in (member, base))
    return (ours * ((ours + _ADDED) / (theirs + _ADDED)).log()).sum(-1, keepdim=True)


def _order_statistic(values: Tensor, quarter: int) -> Tensor:
    """The value at place floor((n - 1) * quarter / 4) of the sorted numbers, from 0."""
    return values.flatten().kthvalue((values.numel() - 1) * quarter // 4 + 1).values
