"""The contract of a quantization scheme, in the vocabulary of compressed-tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class Scheme(Strategy, kind="scheme", package="hf_compress.quantization.schemes"):
    """How numbers are stored: bits, type, group, symmetry, and the rule for activations.

    What a scheme says is compressed-tensors' own `QuantizationScheme`, so that what is trained is what is written and what
    is served. Those that are nothing but such data are the rows of `schemes/presets.py`; a class of its own is for a scheme
    that training adds something to.
    """

    def to_compressed_tensors(self, targets: Sequence[str]) -> "QuantizationScheme":
        """The scheme as compressed-tensors' object, for the given targets."""
        raise TypeError(f"{type(self).__name__} defines no to_compressed_tensors()")

    @classmethod
    def read(cls, stored: "QuantizationScheme") -> Self | None:
        """The scheme that a checkpoint's group describes; None where it is not this one."""
        return None

    def finest(self) -> "Scheme":
        """The same in the smallest groups, which fit into most layers; itself where its groups are what they are."""
        return self


def scheme_of(stored: "QuantizationScheme") -> Scheme | None:
    """The scheme that a group of a checkpoint, or a quantized module, says it has; None where the library has no such one.

    Args:
        stored: as compressed-tensors reads it.
    """
    found = (kind.read(stored) for kind in Scheme.available().values())
    return next((scheme for scheme in found if scheme is not None), None)


def check_group_size(size: Any) -> None:
    """Refuse what is not a number of weights.

    Raises:
        CompressionError: it is not a whole number above zero.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise CompressionError(f"group_size={size!r} is not a number of weights; write 32, 64 or 128")
