"""The contract of a pruning criterion."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy, unknown
from hf_compress.calibration.statistic import Statistic

ACCUMULATED = "accumulated"
"""The name under which a criterion that accumulates finds its total among the statistics."""


class Criterion(Strategy, kind="criterion", package="hf_compress.pruning.criteria"):
    """Says how much each weight matters.

    Attributes:
        needs: the statistics `score` reads, by name, e.g. ("input_norm",); whoever prunes collects them, and refuses to
            start without data.
        one_by_one: the score of a weight depends on no other weight and on no statistic, so that a part of a sharded layer
            can be scored alone; otherwise the layer is gathered for it.
        accumulates: the score is made of what `accumulate` has added up at every optimizer step of a training, which
            `score` finds in `stats` under `ACCUMULATED`. Checkpoints carry the totals; where nothing is trained such a
            criterion is refused.

    Raises:
        CompressionError: a statistic is unknown.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    one_by_one: ClassVar[bool] = False
    accumulates: ClassVar[bool] = False

    @property
    def in_rows(self) -> bool:
        """Weights are compared with those of their own row (output) alone, and every row loses the same share."""
        return False

    @property
    def cut(self) -> float | None:
        """The score below which weights go, whatever sparsity that makes; None where the schedule says how many go."""
        return None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Looks at `needs`, whatever a subclass checks."""
        known = Statistic.available() if cls.needs else {}
        for need in cls.needs:
            if need not in known:
                name = getattr(cls, "name", cls.__name__)
                raise CompressionError(f"criterion {name!r} needs an {unknown('statistic', need, known)}")
        return super().__new__(cls)

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """Scores for one layer.

        Args:
            weight: (O, I), any float type.
            stats: what `needs` names, for this layer: (I,), (I, I) or (O, I), as each statistic declares.

        Returns:
            (O, I) fp32; higher means keep. A pure function: the arguments are not changed.
        """
        raise TypeError(f"{type(self).__name__} defines no score()")

    def score_layer(self, layer: str, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """`score`, for the layer of a name; only a criterion that draws random numbers minds which one it is."""
        return self.score(weight, stats)

    def accumulate(self, weight: Tensor, gradient: Tensor, total: Tensor | None) -> Tensor:
        """The running total of a layer with one more optimizer step in it, where the criterion `accumulates`.

        Args:
            weight: (O, I), as the forward pass of the step had it.
            gradient: (O, I), as the optimizer is about to be given it.
            total: of the steps before, None at the first; may be changed in place.

        Returns:
            (O, I) fp32.
        """
        raise TypeError(f"{type(self).__name__} accumulates and does not say how")
