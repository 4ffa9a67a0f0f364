"""Model breadcrumbs: without the largest and the smallest changes, then add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress._selection import Cut
from hf_compress.merging.compat import differences
from hf_compress.merging.mathematics.cuts import find_cuts
from hf_compress.merging.mathematics.sparsified import SparsifiedTaskVectors, num_kept
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Breadcrumbs(SparsifiedTaskVectors, name="breadcrumbs"):
    """merged = base + scale * sum_i w_i * m_i * (t_i - base).

    The mask m_i removes the round(gamma * n) largest magnitudes of a tensor's task vector, keeps the round(density * n)
    next ones and removes the rest; equal magnitudes count as larger the lower their flat index.

    Attributes:
        density: share that stays; the paper's beta is 1 - density - gamma. May differ between members.
        gamma: share of outliers that is removed, 1 minus the paper's gamma. May differ between members.
        scale: the paper's alpha.
        normalize: divide by the sum of the weights.
        rescale: restore the l1 norm of the task vector (an extension; not in the paper).
        compat: "mergekit": differences in the stored type, int() instead of rounding, and fewer outliers are removed where
            density + gamma > 1 (paper: refused). "peft": int() instead of rounding; with gamma 0 this is its
            magnitude_prune.

    Source: Davari and Belilovsky 2023, section 3.
    """

    density: float = 0.14
    gamma: float = 0.01

    per_member: ClassVar[tuple[str, ...]] = ("weight", "density", "gamma")
    neutral: ClassVar[Mapping[str, float]] = {"density": 1.0, "gamma": 0.0}
    reference: ClassVar[Reference | None] = Reference(
        authors="Davari, Belilovsky",
        title="Model Breadcrumbs: scaling multi-task model merging with sparse masks",
        year=2023,
        link="https://arxiv.org/abs/2312.06795",
        equation="section 3",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sum(self.density, self.gamma, self.name)

    def check_values(self, values: Mapping[str, tuple[float, ...]], members: tuple[str, ...], name: str) -> None:
        """Shares that do not overlap."""
        super().check_values(values, members, name)
        for member, density, gamma in zip(members, values["density"], values["gamma"], strict=True):
            self._check_sum(density, gamma, f"{name}: {member}")

    def cuts(self, operands: Operands) -> list[list[Cut]]:
        """Two cuts per member: what is not too small, and what is too large."""
        pairs = zip(*(self.shares(operands, name) for name in ("density", "gamma")), strict=True)
        counts = [self._counts(density, gamma, operands.num_elements) for density, gamma in pairs]
        return find_cuts(operands, counts, self.vector)

    def sparsify(self, operands: Operands, member: int, vector: Tensor, cuts: list[Cut] | None) -> Tensor:
        """(n,) -> (n,)."""
        assert cuts is not None
        kept, outliers = (cut.keep(vector, operands.offset) for cut in cuts)
        return kept.sub_(outliers)  # exact: a value minus itself or minus 0

    def _counts(self, density: float, gamma: float, size: int) -> tuple[int, int]:
        """How many magnitudes are not too small, and how many of these are too large."""
        differs = differences(self.compat)
        if differs.spares_outliers:
            if density == 1:
                return size, 0
            num_smallest = max(0, size - int(density * size) - int(gamma * size))
            return size - num_smallest, size - num_smallest - int(density * size)
        num_outliers = int(gamma * size) if differs.cuts_counts_off else round(gamma * size)
        return min(size, num_outliers + num_kept(density, size, self.compat)), num_outliers

    def _check_sum(self, density: float, gamma: float, where: str) -> None:
        if not differences(self.compat).spares_outliers and density + gamma > 1 + 1e-9:
            raise CompressionError(
                f"{where}: density={density!r} and gamma={gamma!r} add up to more than 1, and what is removed cannot stay;"
                f" set gamma to {1 - density:g} or less"
            )
