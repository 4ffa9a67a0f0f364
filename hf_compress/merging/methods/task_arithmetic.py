"""Task arithmetic: add weighted task vectors to the base."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.merging.mathematics.weights import refuse_zero_sum
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class TaskArithmetic(MergeMethod, name="task_arithmetic"):
    """merged = base + scale * sum_i w_i * (t_i - base); with `normalize` the sum is divided by sum_i w_i.

    A negative weight takes a task away.

    Attributes:
        scale: the paper's lambda (mergekit's `lambda`), one for the whole sum; the paper tunes it on validation data.
        normalize: divide by the sum of the weights. The paper does not.

    mergekit's numbers are the same, except that it divides by 1 where the weights sum to 0, which is refused here.

    Source: Ilharco et al. 2023, section 2.
    """

    scale: float = 1.0
    normalize: bool = False

    needs_base: ClassVar[bool] = True
    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Ilharco, Ribeiro, Wortsman, Gururangan, Schmidt, Hajishirzi, Farhadi",
        title="Editing models with task arithmetic",
        year=2023,
        link="https://arxiv.org/abs/2212.04089",
        equation="section 2",
    )

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """The sum must not be 0 where it divides."""
        if self.normalize:
            refuse_zero_sum(weights, name, "task_arithmetic with normalize")

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        weights = operands.weights
        total = operands.delta(0).mul_(weights[0])
        for member in range(1, len(weights)):
            total.add_(operands.delta(member).mul_(weights[member]))
        if self.normalize:
            total.div_(sum(weights))
        if self.scale != 1:
            total.mul_(self.scale)
        assert operands.base is not None, operands.name
        return total.add_(operands.base)
