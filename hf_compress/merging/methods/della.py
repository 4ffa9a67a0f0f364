"""DELLA with the consensus of TIES."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.merging.methods.della_linear import DellaLinear


@dataclass(frozen=True, kw_only=True)
class Della(DellaLinear, name="della"):
    """merged = base + scale * disjoint_mean_i(w_i, m_i * (t_i - base) / k_i), with m_i ~ Bernoulli(k_i) per element.

    The probabilities k_i are those of `DellaLinear`: drop (MagPrune), then elect and fuse as TIES does.

    Attributes:
        density: mean probability of staying, 1 - p with the paper's drop rate p; may differ between members.
        epsilon: half the width of the range of probabilities; may differ between members.
        scale: the paper's lambda.
        normalize: divide by the weights of the members that agree.
        rescale: divide what stays by its probability.
        compat: "mergekit": as for `DellaLinear`; also votes that cancel elect plus, and the divisor is signed.

    Source: Deep et al. 2024, section 3.
    """

    normalize: bool = True

    elects_sign: ClassVar[bool] = True
