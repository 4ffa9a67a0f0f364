"""TIES: trim, elect sign, disjoint mean."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress._selection import Cut
from hf_compress.merging.mathematics.cuts import find_cuts
from hf_compress.merging.mathematics.sparsified import SparsifiedTaskVectors, num_kept
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Ties(SparsifiedTaskVectors, name="ties"):
    """merged = base + scale * disjoint_mean_i(w_i, trim(t_i - base)).

    Of each task vector the round(density * n) largest magnitudes of a tensor stay, of equal ones those with the lower flat
    index. The sign of an element is the one with more total weighted magnitude; only members with that sign are averaged
    (`disjoint_mean` has the formula and what weights do in it). The paper ranks all tensors of a model together; here, as
    in other implementations, each tensor is ranked by itself.

    Attributes:
        density: share of each task vector that stays; may differ between members.
        scale: the paper's lambda.
        normalize: divide by the weights of the members that agree; otherwise their sum stays.
        rescale: after trimming, restore the l1 norm of the task vector (an extension; not in the paper).
        compat: "mergekit": differences in the stored type, max(1, int(density * n)) elements stay, votes that cancel elect
            plus, signed divisor. "peft": int(density * n) stay, unweighted votes, those that cancel elect plus, the divisor
            is the number of members that agree.

    Source: Yadav et al. 2023, algorithm 1.
    """

    density: float = 0.2
    normalize: bool = True

    elects_sign: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Yadav, Tam, Choshen, Raffel, Bansal",
        title="TIES-Merging: resolving interference when merging models",
        year=2023,
        link="https://arxiv.org/abs/2306.01708",
        equation="algorithm 1",
    )

    def cuts(self, operands: Operands) -> list[list[Cut]]:
        """One cut per member."""
        densities = self.shares(operands, "density")
        counts = [[num_kept(density, operands.num_elements, self.compat)] for density in densities]
        return find_cuts(operands, counts, self.vector)

    def sparsify(self, operands: Operands, member: int, vector: Tensor, cuts: list[Cut] | None) -> Tensor:
        """(n,) -> (n,)."""
        assert cuts is not None
        return cuts[0].keep(vector, operands.offset)
