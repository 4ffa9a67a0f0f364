"""All at once."""

from dataclasses import dataclass

from hf_compress._units import Point
from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule, name="constant"):
    """s(t) = final from `begin` on: prune once, then fine-tune what is left. `end` must equal `begin`."""

    begin: Point = "0%"
    end: Point = "0%"

    def progress(self, fraction: float) -> float:
        """1 everywhere."""
        return 1.0
