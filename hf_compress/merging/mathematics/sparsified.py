"""What the methods on sparsified task vectors share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._selection import Cut
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.consensus import disjoint_mean, task_vector, weighted_sum
from hf_compress.merging.mathematics.weights import refuse_zero_sum
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True)
class Survey:
    """What merging a chunk needs of the whole tensor.

    Attributes:
        cuts: per member, what separates the magnitudes that stay from the others.
        factors: per member, what restores the l1 norm; None where it is not restored.
    """

    cuts: list[list[Cut]] | None = None
    factors: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class SparsifiedTaskVectors(MergeMethod):
    """merged = base + scale * combine_i(w_i, sparsify(t_i - base)), tensor by tensor.

    `combine` is the weighted sum, or with `elects_sign` the disjoint mean of TIES (see consensus.py). A subclass says what
    stays of a task vector.

    Attributes:
        density: share of the elements that stays, in [0, 1].
        scale: the factor on the merged task vector, lambda in the papers.
        normalize: divide by the weights that take part.
        rescale: make up for what was removed.
        compat: whose numbers.
    """

    density: float = 1.0
    scale: float = 1.0
    normalize: bool = False
    rescale: bool = False
    compat: Compat = "paper"

    needs_base: ClassVar[bool] = True
    propagates: ClassVar[bool] = True  # they never reach it: `task_vector` refuses them before anything is removed
    per_member: ClassVar[tuple[str, ...]] = ("weight", "density")
    neutral: ClassVar[Mapping[str, float]] = {"density": 1.0}
    elects_sign: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise CompressionError(f"scale={self.scale!r} is not a factor; 1 adds the merged task vector as it is")
        for name in self.per_member[1:]:
            if not 0 <= getattr(self, name) <= 1:
                raise CompressionError(f"{name}={getattr(self, name)!r} lies outside [0, 1]; it is a share of the elements")

    @property
    def restores_norm(self) -> bool:
        """Whether `rescale` means that the sum of magnitudes stays what it was."""
        return self.rescale

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """The sum must not be 0 where it divides."""
        if self.normalize and not self.elects_sign and not differences(self.compat).takes_zero_sum:
            refuse_zero_sum(weights, name, self.name)

    def check_values(self, values: Mapping[str, tuple[float, ...]], members: tuple[str, ...], name: str) -> None:
        """What may differ between members, beside the weight, is a share of the elements."""
        for parameter in self.per_member[1:]:
            for member, value in zip(members, values[parameter], strict=True):
                if not 0 <= value <= 1:
                    raise CompressionError(
                        f"{name}: {parameter}={value!r} of {member} lies outside [0, 1]; it is a share of the elements"
                    )

    def shares(self, operands: Operands, name: str) -> tuple[float, ...]:
        """The members' values of one parameter."""
        return operands.values.get(name, (getattr(self, name),) * len(operands.tensors))

    def vector(self, operands: Operands, member: int) -> Tensor:
        """The task vector of one member, whole or a part, fp32."""
        return task_vector(operands, member, self.compat)

    def cuts(self, operands: Operands) -> list[list[Cut]] | None:
        """Per member the cuts that `sparsify` needs; None where it needs none."""
        return None

    def sparsify(self, operands: Operands, member: int, vector: Tensor, cuts: list[Cut] | None) -> Tensor:
        """What stays of a task vector.

        Args:
            operands: one chunk, or with `whole` the tensor.
            member: whose.
            vector: of that chunk, fp32; may be overwritten.
            cuts: the member's, of the whole tensor.

        Returns:
            A tensor of the same shape, fp32.
        """
        raise TypeError(f"{type(self).__name__} defines no sparsify()")

    def survey(self, operands: Operands) -> Survey:
        """Cuts, and the factors that restore the l1 norm."""
        shares = {name: self.shares(operands, name) for name in self.per_member[1:]}
        self.check_values(shares, operands.members, operands.name)
        cuts = self.cuts(operands)
        if not self.restores_norm or self.whole:
            return Survey(cuts=cuts)
        members = range(len(operands.tensors))
        before, after = [0.0 for _ in members], [0.0 for _ in members]
        for chunk in operands.chunks():
            for member in members:
                vector = self.vector(chunk, member)
                before[member] += vector.norm(p=1).item()
                kept = self.sparsify(chunk, member, vector, cuts[member] if cuts else None)
                after[member] += kept.norm(p=1).item()
        return Survey(cuts=cuts, factors=[restoring_factor(*norms) for norms in zip(before, after, strict=True)])

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """(n,) -> (n,), or with `whole` any shape -> the same shape; fp32."""
        assert operands.base is not None, operands.name
        vectors = []
        for member in range(len(operands.tensors)):
            cuts = survey.cuts[member] if survey.cuts else None
            vector = self.sparsify(operands, member, self.vector(operands, member), cuts)
            vectors.append(vector.mul_(survey.factors[member]) if survey.factors else vector)
        combine = disjoint_mean if self.elects_sign else weighted_sum
        merged = combine(vectors, operands.weights, self.normalize, self.compat)
        return merged.mul_(self.scale).add_(operands.base)


def restoring_factor(before: float, after: float) -> float:
    """What the rest is multiplied by so that its l1 norm is the one before; 1 where either is next to nothing (1e-7)."""
    return 1.0 if before < 1e-7 or after < 1e-7 else before / after


def num_kept(density: float, size: int, compat: Compat) -> int:
    """How many of `size` elements a density keeps.

    The nearest whole number, unless the fraction is cut off; then perhaps at least one where the density is not 0.
    """
    if density >= 1 or density <= 0:
        return size if density >= 1 else 0
    differs = differences(compat)
    count = int(density * size) if differs.cuts_counts_off else round(density * size)
    return max(1, count) if differs.keeps_at_least_one else count
