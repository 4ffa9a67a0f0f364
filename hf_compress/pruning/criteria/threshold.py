"""An absolute value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class Threshold(Criterion, name="threshold"):
    """score = |w|; every weight below `value` goes, however many there are.

    The sparsity is what comes out, and is measured. The schedule says when: at `end` the whole value counts, on the way the
    share of it that `progress` says.

    Attributes:
        value: in the units of the weights, above 0.

    Source: Han et al. 2015, section 3 (connections with weights below a threshold are removed).
    """

    value: float = 0.01

    one_by_one: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Han, Pool, Tran, Dally",
        title="Learning both Weights and Connections for Efficient Neural Networks",
        year=2015,
        link="https://arxiv.org/abs/1506.02626",
        equation="section 3",
    )

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise CompressionError(f"value={self.value:g} prunes nothing; write the absolute value below which weights go")

    @property
    def cut(self) -> float | None:
        """The value."""
        return self.value

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32: the absolute values."""
        return weight.detach().float().abs()
