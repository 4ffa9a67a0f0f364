"""The steps at which weights are taken."""

from dataclasses import dataclass
from typing import Any, Self

from hf_compress._errors import CompressionError
from hf_compress._units import Point, check_point, resolve_point


def check_points(begin: Point, every: Point) -> None:
    """Refuse what cannot be steps.

    Raises:
        CompressionError: `begin` or `every` is not a point, or `every` is 0.
    """
    check_point(begin, "begin")
    check_point(every, "every")
    if every == 0:
        raise CompressionError("every=0 takes no step; write 1 for every step")


@dataclass(frozen=True, kw_only=True)
class Points:
    """begin, begin + every, begin + 2 * every, ...: steps of one run.

    Attributes:
        begin: the first.
        every: the distance, >= 1.
    """

    begin: int
    every: int

    @classmethod
    def resolve(cls, begin: Point, every: Point, max_steps: int, name: str) -> Self:
        """The steps that shares mean in a run of `max_steps`.

        Raises:
            CompressionError: the run ends before the first point.
        """
        points = cls(begin=resolve_point(begin, max_steps), every=max(1, resolve_point(every, max_steps)))
        if points.begin > max_steps:
            raise CompressionError(
                f"{name}: begin={begin!r} is after the last of {max_steps} steps; write a smaller step or a share ('75%')"
            )
        return points

    def has(self, step: int) -> bool:
        """True at a point, `step` being the number of optimizer steps done."""
        return step >= self.begin and (step - self.begin) % self.every == 0

    def settings(self) -> dict[str, Any]:
        """For records."""
        return {"begin": self.begin, "every": self.every}
