"""The straight line."""

from dataclasses import dataclass

from hf_compress.pruning.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class LinearRamp(Schedule, name="linear"):
    """s(t) = initial + (final - initial) * (t - begin) / (end - begin)."""

    def progress(self, fraction: float) -> float:
        """The fraction itself."""
        return fraction
