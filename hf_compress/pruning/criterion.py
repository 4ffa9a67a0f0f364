"""The contract of a pruning criterion."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Strategy


class Criterion(Strategy, kind="criterion", package="hf_compress.pruning.criteria"):
    """Says how much each weight matters.

    Attributes:
        needs: the statistics `score` reads, by name, e.g. ("input_norm",); the caller refuses to start without them.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """Scores for one layer.

        Args:
            weight: (O, I), any float type.
            stats: what `needs` names, for this layer.

        Returns:
            (O, I) fp32; higher means keep. A pure function: the arguments are not changed.
        """
        raise TypeError(f"{type(self).__name__} defines no score()")
