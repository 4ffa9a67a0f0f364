"""DELLA: drop at random, small magnitudes more often, and rescale; then add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress._selection import Cut
from hf_compress.merging.compat import differences
from hf_compress.merging.mathematics.sparsified import SparsifiedTaskVectors, restoring_factor
from hf_compress.merging.operands import CHUNK, Operands


@dataclass(frozen=True, kw_only=True)
class DellaLinear(SparsifiedTaskVectors, name="della_linear"):
    """merged = base + scale * sum_i w_i * m_i * (t_i - base) / k_i, with m_i ~ Bernoulli(k_i) per element.

    The probability of staying grows with the rank r of the magnitude within its row of n elements (0 the smallest, of equal
    ones the one further left):

        k = density - epsilon + 2 * epsilon * r / (n - 1)

    so that `density` of a row stays on average. A row is what one output reads: a matrix's rows, a kernel of a convolution;
    a tensor of one dimension is a single row. Ranks need whole rows, so the tensor is held whole.

    Attributes:
        density: mean probability of staying, 1 - p with the paper's drop rate p; may differ between members.
        epsilon: half the width of the range of probabilities; may differ between members.
        scale: the paper's lambda.
        normalize: divide by the sum of the weights.
        rescale: divide what stays by its probability, so that the expected value is the task vector.
        compat: "mergekit": differences in the stored type, `rescale` restores the l1 norm instead, and tensors of more than
            two dimensions are ranked along their second one. The random numbers are this library's in any case.

    Source: Deep et al. 2024, section 3 (MagPrune).
    """

    density: float = 0.5
    epsilon: float = 0.15
    rescale: bool = True

    per_member: ClassVar[tuple[str, ...]] = ("weight", "density", "epsilon")
    whole: ClassVar[bool] = True
    draws: ClassVar[bool] = True
    neutral: ClassVar[Mapping[str, float]] = {"density": 1.0, "epsilon": 0.0}
    reference: ClassVar[Reference | None] = Reference(
        authors="Deep, Bhardwaj, Poria",
        title="DELLA-Merging: reducing interference in model merging through magnitude-based sampling",
        year=2024,
        link="https://arxiv.org/abs/2406.11617",
        equation="section 3",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name in differences(self.compat).lacks:
            raise CompressionError(f"{self.compat} has no {self.name}; set compat to paper or mergekit")
        _check_range(self.density, self.epsilon, self.name)

    @property
    def restores_norm(self) -> bool:
        """Only where `rescale` means that, and not the division by the probability."""
        return self.rescale and differences(self.compat).rescale_restores_norm

    def check_values(self, values: Mapping[str, tuple[float, ...]], members: tuple[str, ...], name: str) -> None:
        """Shares that give probabilities."""
        super().check_values(values, members, name)
        for member, density, epsilon in zip(members, values["density"], values["epsilon"], strict=True):
            _check_range(density, epsilon, f"{name}: {member}")

    def sparsify(self, operands: Operands, member: int, vector: Tensor, cuts: list[Cut] | None) -> Tensor:
        """Any shape -> the same shape."""
        density, epsilon = (self.shares(operands, name)[member] for name in ("density", "epsilon"))
        if density == 1 or not vector.numel():
            return vector
        if density == 0:
            return vector.zero_()
        before = vector.norm(p=1).item()
        second = vector.ndim > 2 and differences(self.compat).ranks_along_second
        moved = vector.movedim(1, -1) if second else vector
        # Without a copy where the layout allows it: the rows are then the vector itself.
        rows = (
            moved.reshape(-1, moved.shape[-1]) if second else vector.reshape(vector.shape[0] if vector.ndim > 1 else 1, -1)
        )
        generator = operands.generator(member)
        for block in rows.split(max(1, CHUNK // rows.shape[1])):
            keep = keep_probabilities(block, density, epsilon)
            drawn = torch.rand(block.shape, generator=generator).to(block.device)
            block.mul_(drawn.lt(keep))
            if self.rescale and not self.restores_norm:
                block.div_(keep)
        kept = rows.reshape(moved.shape)
        kept = kept.movedim(-1, 1) if second else kept
        return kept.mul_(restoring_factor(before, kept.norm(p=1).item())) if self.restores_norm else kept


def keep_probabilities(rows: Tensor, density: float, epsilon: float) -> Tensor:
    """From density - epsilon for the smallest magnitude of a row, evenly with the rank, to density + epsilon.

    Args:
        rows: (R, n).
        density: mean of a row.
        epsilon: half the range.

    Returns:
        (R, n) fp32; `density` everywhere where n is 1.
    """
    num_columns = rows.shape[1]
    if num_columns == 1:
        return torch.full_like(rows, density)
    order = rows.abs().argsort(dim=1, stable=True)
    steps = torch.linspace(density - epsilon, density + epsilon, num_columns, device=rows.device)
    return torch.empty_like(rows).scatter_(1, order, steps.expand_as(rows))


def _check_range(density: float, epsilon: float, where: str) -> None:
    if 0 < density < 1 and not (density - epsilon > 0 and density + epsilon <= 1):
        raise CompressionError(
            f"{where}: density={density!r} with epsilon={epsilon!r} gives probabilities outside (0, 1]; set epsilon below"
            f" {min(density, 1 - density):g}"
        )
