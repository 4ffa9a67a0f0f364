"""DARE: drop at random and rescale, then add up."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress._selection import Cut
from hf_compress.merging.compat import differences
from hf_compress.merging.mathematics.sparsified import SparsifiedTaskVectors
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class DareLinear(SparsifiedTaskVectors, name="dare_linear"):
    """merged = base + scale * sum_i w_i * m_i * (t_i - base) / density_i, with m_i ~ Bernoulli(density_i) per element.

    Attributes:
        density: probability of staying, 1 - p with the paper's drop rate p; may differ between members.
        scale: factor on the merged task vector.
        normalize: divide by the sum of the weights.
        rescale: divide what stays by the density, so that the expected value is the task vector.
        compat: "mergekit": differences in the stored type, and `rescale` restores the l1 norm of the task vector instead.
            "peft" has the paper's numbers. The random numbers are this library's in any case.

    Source: Yu et al. 2023, equations 1 to 3.
    """

    density: float = 0.1
    rescale: bool = True

    draws: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Yu, Yu, Yu, Huang, Li",
        title="Language models are Super Mario: absorbing abilities from homologous models as a free lunch",
        year=2023,
        link="https://arxiv.org/abs/2311.03099",
        equation="section 3",
    )

    @property
    def restores_norm(self) -> bool:
        """Only where `rescale` means that, and not the division by the density."""
        return self.rescale and differences(self.compat).rescale_restores_norm

    def sparsify(self, operands: Operands, member: int, vector: Tensor, cuts: list[Cut] | None) -> Tensor:
        """(n,) -> (n,), with random numbers of this chunk alone."""
        density = self.shares(operands, "density")[member]
        if density == 1:
            return vector
        if density == 0:
            return vector.zero_()
        drawn = torch.rand(vector.shape, generator=operands.generator(member)).to(vector.device)
        vector.mul_(drawn.lt_(density))
        return vector.div_(density) if self.rescale and not self.restores_norm else vector
