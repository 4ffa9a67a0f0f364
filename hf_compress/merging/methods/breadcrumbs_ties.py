"""Model breadcrumbs with the consensus of TIES."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.merging.methods.breadcrumbs import Breadcrumbs


@dataclass(frozen=True, kw_only=True)
class BreadcrumbsTies(Breadcrumbs, name="breadcrumbs_ties"):
    """merged = base + scale * disjoint_mean_i(w_i, m_i * (t_i - base)).

    The masks m_i are those of `Breadcrumbs`; sign election and disjoint mean are those of TIES.

    Attributes:
        density: share that stays. May differ between members.
        gamma: share of outliers that is removed. May differ between members.
        scale: factor on the merged task vector.
        normalize: divide by the weights of the members that agree (mergekit's own default is not to).
        rescale: restore the l1 norm of the task vector.
        compat: "mergekit", "peft": as for `Breadcrumbs`, and the consensus as for TIES.

    Source: Davari and Belilovsky 2023, section 3; Yadav et al. 2023, algorithm 1.
    """

    normalize: bool = True

    elects_sign: ClassVar[bool] = True
