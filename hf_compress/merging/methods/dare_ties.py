"""DARE with the consensus of TIES."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.merging.methods.dare_linear import DareLinear


@dataclass(frozen=True, kw_only=True)
class DareTies(DareLinear, name="dare_ties"):
    """merged = base + scale * disjoint_mean_i(w_i, m_i * (t_i - base) / density_i), with m_i ~ Bernoulli(density_i).

    Random dropping takes the place of trimming; sign election and disjoint mean are those of TIES.

    Attributes:
        density: probability of staying, 1 - p with the paper's drop rate p; may differ between members.
        scale: factor on the merged task vector.
        normalize: divide by the weights of the members that agree (mergekit's own default is not to).
        rescale: divide what stays by the density.
        compat: "mergekit": differences in the stored type, `rescale` restores the l1 norm instead, votes that cancel elect
            plus, signed divisor. "peft": unweighted votes, those that cancel elect plus, the divisor is the number of
            members that agree. The random numbers are this library's in any case.

    Source: Yu et al. 2023, section 3; Yadav et al. 2023, algorithm 1.
    """

    normalize: bool = True

    elects_sign: ClassVar[bool] = True
