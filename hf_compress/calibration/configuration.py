"""Which data statistics are collected on, as a value."""

from dataclasses import dataclass

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds


@dataclass(frozen=True, kw_only=True)
class Calibration(metaclass=CheckedKinds):
    """Training examples that a criterion's statistics are collected on; the same ones whenever masks move.

    Attributes:
        num_examples: how many, drawn without replacement; all where there are fewer.
        batch_size: examples at once.
        seed: of the choice, and of what a collator draws.
    """

    num_examples: int = 128
    batch_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_examples", "batch_size"):
            if getattr(self, name) < 1:
                raise CompressionError(f"{name}={getattr(self, name)} must be 1 or more")
        if not 0 <= self.seed < 2**32:
            raise CompressionError(f"seed={self.seed} must lie between 0 and 2**32 - 1")
