"""SCE: select where the members disagree most, calculate how much each changed, erase the minority's signs."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress._selection import Cut, largest
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.weights import refuse_weights
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What SCE knows of a whole tensor.

    Attributes:
        cut: which variances are selected; None = all.
        coefficients: of the members, summing to 1.
    """

    cut: Cut | None
    coefficients: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Sce(MergeMethod, name="sce"):
    """merged = base + sum_i c_i e_i d_i / sum_i c_i e_i, elementwise, with d_i the selected task vectors.

    Select: d_i keeps the `select_topk` share of a tensor's elements in which the task vectors vary most over the members
    (population variance; equal ones by index; elements in which all members agree exactly are never selected unless
    `select_topk` is 1), and is 0 elsewhere. Calculate: c_i = sum(d_i^2) / sum_j sum(d_j^2), one number per tensor. Erase:
    e_i = 1 where d_i has the sign of sum_j d_j (plus, where that is 0), else 0. Dividing by the coefficients that are left
    follows mergekit.

    Attributes:
        select_topk: share of the elements that are selected, in [0, 1]; the paper's tau.
        compat: "mergekit" takes the share of the elements with a variance above 0 instead of all elements (rounded down,
            not to the nearest); takes equal coefficients where the mean squares of the d_i sum to less than 1e-6, as they
            do for weakly fine-tuned models; and divides by at least 1e-6.

    Source: Wan et al. 2024, the SCE steps.
    """

    select_topk: float = 1.0
    compat: Compat = "paper"

    needs_base: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Wan, Zhong, Yang, Chen, Quan",
        title="FuseChat: knowledge fusion of chat models",
        year=2024,
        link="https://arxiv.org/abs/2408.07990",
        equation="SCE",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.select_topk <= 1:
            raise CompressionError(f"select_topk={self.select_topk!r} is not a share; use a number in [0, 1]")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "sce", "it calculates its coefficients from the task vectors; leave the weights out")

    def survey(self, operands: Operands) -> Selection:
        """Threshold and coefficients, in at most five passes over the tensor."""
        cut = self._cut(operands)
        energies = [0.0] * len(operands.tensors)
        for chunk in operands.chunks():
            for member, delta in enumerate(_selected(chunk, cut)):
                energies[member] += delta.double().square_().sum().item()
        total = sum(energies)
        mean = total / max(operands.num_elements, 1)
        even = mean < 1e-6 if differences(self.compat).evens_small_energies else total == 0
        coefficients = tuple(1 / len(energies) if even else energy / total for energy in energies)
        return Selection(cut=cut, coefficients=coefficients)

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        deltas = _selected(operands, survey.cut)
        total = sum(deltas[1:], deltas[0])
        sign = (total >= 0).to(torch.float32).mul_(2).sub_(1)
        merged, divisor = torch.zeros_like(total), torch.zeros_like(total)
        for delta, coefficient in zip(deltas, survey.coefficients, strict=True):
            agreeing = delta.mul_(sign).clamp_(min=0)  # the magnitude where the sign is the majority's, else 0
            merged.add_(agreeing, alpha=coefficient)
            divisor.add_(agreeing.sign_(), alpha=coefficient)
        if differences(self.compat).floors_divisors:
            merged.div_(divisor.clamp_(min=1e-6))
        else:
            merged.div_(divisor.masked_fill_(divisor == 0, 1))
        assert operands.base is not None, operands.name
        return merged.mul_(sign).add_(operands.base)

    def _cut(self, operands: Operands) -> Cut | None:
        if self.select_topk == 1:
            return None
        varying = sum(int(_variance(chunk.deltas()).count_nonzero()) for chunk in operands.chunks())
        if differences(self.compat).selects_among_varying:
            k = int(torch.tensor(varying) * self.select_topk)  # an fp32 product, cut off
        else:
            k = min(round(self.select_topk * operands.num_elements), varying)
        return largest(lambda: (_variance(chunk.deltas()) for chunk in operands.chunks()), k, operands.num_elements)


def _variance(deltas: list[Tensor]) -> Tensor:
    """Over the members, fp32, never negative; the same bits for an element whichever chunk it is in."""
    mean = sum(deltas[1:], deltas[0]) / len(deltas)
    total = torch.zeros_like(mean)
    for delta in deltas:
        total.add_((delta - mean).square_())
    return total.div_(len(deltas))


def _selected(operands: Operands, cut: Cut | None) -> list[Tensor]:
    """The task vectors with zeros where they are not selected."""
    deltas = operands.deltas()
    if cut is None:
        return deltas
    keep = cut.mask(_variance(deltas), operands.offset).to(torch.float32)  # as floats, which multiply faster than flags
    return [delta.mul_(keep) for delta in deltas]
