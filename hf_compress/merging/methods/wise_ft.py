"""WiSE-FT: between a zero-shot model and its fine-tuned version."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.mathematics.weights import refuse_weights
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class WiseFT(MergeMethod, name="wise_ft"):
    """merged = (1 - alpha) * base + alpha * member, for one member.

    The ends are exact to the bit, and so is a weight that fine-tuning left alone.

    Attributes:
        alpha: 0 gives the base (zero-shot) model, 1 the fine-tuned one; the paper recommends 0.5 where nothing else is
            known.

    Source: Wortsman et al. 2022, equation 1.
    """

    alpha: float = 0.5

    needs_base: ClassVar[bool] = True
    num_members: ClassVar[tuple[int, int | None]] = (1, 1)
    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Wortsman, Ilharco, Kim, Li, Kornblith, Roelofs, Lopes, Hajishirzi, Farhadi, Namkoong, Schmidt",
        title="Robust fine-tuning of zero-shot models",
        year=2022,
        link="https://arxiv.org/abs/2109.01903",
        equation="equation 1",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise CompressionError(
                f"alpha={self.alpha!r} lies outside [0, 1], between the base and the member; to go beyond the member"
                " use task_arithmetic with scale"
            )

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "wise_ft", "set alpha instead")

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        base, member = operands.base, operands.tensors[0]
        assert base is not None, operands.name
        delta = operands.delta(0)
        # Starting from the nearer end makes both ends exact: x + 0 * delta is x, x + 1 * (y - x) need not be y.
        if self.alpha < 0.5:
            return delta.mul_(self.alpha).add_(base)
        return delta.mul_(self.alpha - 1).add_(member)
