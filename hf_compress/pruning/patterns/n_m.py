"""n:m semi-structured sparsity."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress._sharding.across import ALONE, Across
from hf_compress.pruning.pattern import Pattern, keep_largest


@dataclass(frozen=True, kw_only=True)
class NM(Pattern, name="n_m"):
    """At most n of every m neighbours along I are non-zero; 2:4 is what sparse tensor cores run.

    In a convolution the neighbours are m input channels, for each output and kernel position: weights in the order
    (O, kh, kw, C). A depthwise convolution has one input channel and fits no pattern.

    On the way to the final sparsity 1 - n/m only weights that the full pattern would prune may go, lowest score first, so
    a schedule can approach the pattern gradually.

    Attributes:
        n: how many of each group stay, 0 < n < m.
        m: the size of a group; divides the inputs, of a convolution the input channels (of each of its groups).

    Source: Mishra et al. 2021, section 2.
    """

    n: int = 2
    m: int = 4

    any_sparsity: ClassVar[bool] = False
    along_inputs: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Mishra, Latorre, Pool, Stosic, Stosic, Venkatesh, Yu, Micikevicius",
        title="Accelerating Sparse Deep Neural Networks",
        year=2021,
        link="https://arxiv.org/abs/2104.08378",
        equation="section 2",
    )

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            raise CompressionError(f"n={self.n}, m={self.m} is not an n:m pattern; it needs 0 < n < m, e.g. n=2, m=4")

    def columns_at_once(self, most: int) -> int:
        """A group.

        Raises:
            CompressionError: no whole groups fit.
        """
        if most % self.m:
            raise CompressionError(f"blocks of {most} columns hold no whole groups of m={self.m}; give a multiple of m")
        return self.m

    def check(self, sparsity: float) -> None:
        """The final sparsity is 1 - n/m and nothing else."""
        wanted = 1 - self.n / self.m
        if abs(sparsity - wanted) > 1e-9:
            raise CompressionError(
                f"a {self.n}:{self.m} pattern has sparsity {wanted:g}, but the schedule ends at {sparsity:g};"
                f" set schedule.final to {wanted:g}"
            )

    def check_layer(self, outputs: int, inputs: int) -> None:
        """The inputs are whole groups of m."""
        if inputs % self.m:
            raise CompressionError(
                f"m={self.m} does not divide the {inputs} inputs of a layer; ignore that layer or change m"
            )

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """(O, I) -> (O, I) bool; exactly `round(sparsity * O * I)` False, all inside the n:m pattern.

        Raises:
            CompressionError: m does not divide I.
        """
        self.check_layer(*score.shape)
        return self._mask(score, sparsity, ALONE)

    def mask_of_part(self, score: Tensor, sparsity: float, across: Across) -> Tensor | None:
        """The same, where no process's part ends inside a group."""
        if across.total(score.shape[-1] % self.m):
            return None
        return self._mask(score, sparsity, across)

    def _mask(self, score: Tensor, sparsity: float, across: Across) -> Tensor:
        groups = score.unflatten(-1, (-1, self.m))
        order = groups.argsort(dim=-1, descending=True, stable=True)
        keep = torch.zeros_like(groups, dtype=torch.bool)
        keep.scatter_(-1, order[..., : self.n], True)
        keep = keep.flatten(-2)
        total = across.total(score.numel())
        num_pruned, most = round(sparsity * total), total // self.m * (self.m - self.n)
        if num_pruned >= most:
            return keep
        # What the pattern keeps cannot go, so it gets the highest score of all.
        return keep_largest(score.masked_fill(keep, float("inf")), num_pruned, across)
