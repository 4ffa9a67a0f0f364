"""The contract of a quantization scheme, in the vocabulary of compressed-tensors."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class Scheme(Strategy, kind="scheme", package="hf_compress.quantization.schemes"):
    """How numbers are stored: bits, type, group, symmetry, and the rule for activations.

    The data is compressed-tensors' own `QuantizationScheme`, so that what is trained is what is written and what is
    served. A subclass names a preset of that library; fields say what training may change about it.

    Attributes:
        group_size: how many weights along I share a scale, where the preset groups; None keeps the preset's.
        preset: the name in compressed-tensors.
    """

    preset: ClassVar[str]

    group_size: int | None = None

    def __post_init__(self) -> None:
        size = self.group_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise CompressionError(f"group_size={self.group_size!r} is not a number of weights; write 32, 64 or 128")

    def to_compressed_tensors(self, targets: Sequence[str]) -> "QuantizationScheme":
        """The scheme as compressed-tensors' object, for the given targets.

        Raises:
            CompressionError: a group size is set, but the preset does not group.
        """
        from compressed_tensors.quantization import preset_name_to_scheme

        scheme = preset_name_to_scheme(self.preset, list(targets))
        if self.group_size is None:
            return scheme
        if scheme.weights is None or scheme.weights.group_size is None:
            raise CompressionError(
                f"scheme {self.name} has one scale per channel, not per group; leave group_size out, or use W4A16 or W8A16"
            )
        scheme.weights = scheme.weights.model_copy(update={"group_size": self.group_size})
        return scheme

    def with_group_size(self, group_size: int) -> "Scheme":
        """The same scheme with another group size."""
        return dataclasses.replace(self, group_size=group_size)
