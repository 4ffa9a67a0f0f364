"""Passthrough: one model's tensor as it is; what layer stacking is made of."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.mathematics.weights import refuse_weights
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Passthrough(MergeMethod, name="passthrough"):
    """merged = scale * t, from exactly one source per tensor.

    With `slices` the recipe may name many members, as long as each tensor of the result comes from one.

    Attributes:
        scale: a factor, e.g. 0 for the output projections of a layer that is to be the identity; may be set per member.

    Source: depth up-scaling, Kim et al. 2023 (there without a factor).
    """

    scale: float = 1.0

    num_members: ClassVar[tuple[int, int | None]] = (1, 1)
    per_member: ClassVar[tuple[str, ...]] = ("weight", "scale")
    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Kim, Park, Kim, et al.",
        title="SOLAR 10.7B: scaling large language models with simple yet effective depth up-scaling",
        year=2023,
        link="https://arxiv.org/abs/2312.15166",
        equation="depth up-scaling",
    )

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "passthrough", "set scale instead")

    def survey(self, operands: Operands) -> None:
        """Exactly one source."""
        if len(operands.tensors) != 1:
            raise CompressionError(
                f"{operands.name}: passthrough takes exactly one source per tensor, and there are"
                f" {len(operands.tensors)} ({', '.join(operands.members)}); give each slice one source, or use linear"
            )

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        scale = operands.values.get("scale", (self.scale,))[0]
        merged = operands.tensors[0].to(torch.float32, copy=True)
        return merged if scale == 1 else merged.mul_(scale)
