"""All at once."""

from dataclasses import dataclass

from hf_compress._errors import CompressionError
from hf_compress._units import Point
from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule, name="constant"):
    """s(t) = final from `begin` on: prune once, then fine-tune what is left.

    `end` must equal `begin`, and there is no way that could start from an `initial`.
    """

    begin: Point = "0%"
    end: Point = "0%"

    def __post_init__(self) -> None:
        if self.begin != self.end:
            raise CompressionError(
                f"begin={self.begin!r} and end={self.end!r} differ, but the constant schedule prunes at one moment; set"
                " both to it, or use the schedule linear or cubic"
            )
        if self.initial:
            raise CompressionError(
                f"initial={self.initial!r} is where a gradual schedule starts, and the constant schedule has final at once;"
                " leave initial out, or use the schedule linear or cubic"
            )
        super().__post_init__()

    def progress(self, fraction: float) -> float:
        """1 everywhere."""
        return 1.0
