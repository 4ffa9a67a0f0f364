"""The contract of a pruning criterion."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy, unknown
from hf_compress.calibration.statistic import Statistic


class Criterion(Strategy, kind="criterion", package="hf_compress.pruning.criteria"):
    """Says how much each weight matters.

    Attributes:
        needs: the statistics `score` reads, by name, e.g. ("input_norm",); whoever prunes collects them, and refuses to
            start without data.
        one_by_one: the score of a weight depends on no other weight and on no statistic, so that a part of a sharded layer
            can be scored alone; otherwise the layer is gathered for it.

    Raises:
        CompressionError: a statistic is unknown.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    one_by_one: ClassVar[bool] = False

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
