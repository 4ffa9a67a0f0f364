"""The schemes that are data alone: compressed-tensors' presets that can be trained and written, one a row.

A row is the preset's name in compressed-tensors and a sentence. `W4A16(group_size=32)` is the scheme in Python,
`scheme: {name: W4A16, group_size: 32}` in a recipe.
"""

import dataclasses
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hf_compress._errors import CompressionError
from hf_compress.quantization.scheme import Scheme, check_group_size

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

_FINEST = 16
_DECISIVE = ("num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "scale_dtype")
"""What decides the stored numbers; observers and their settings only matter while calibrating."""


@dataclass(frozen=True, kw_only=True)
class Preset(Scheme):
    """A preset of compressed-tensors, by its name there.

    Attributes:
        group_size: how many weights along I share a scale, where the preset leaves it open; None keeps the preset's.
    """

    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.group_size is None:
            return
        check_group_size(self.group_size)
        weights = self._plain([]).weights
        if weights is None or weights.group_size is None:
            others = [name for name, kind in Preset.available().items() if issubclass(kind, Preset) and kind.has_groups()]
            raise CompressionError(
                f"scheme {self.name} has one scale per channel, not per group; leave group_size out, or use"
                f" {', '.join(others[:-1])} or {others[-1]}"
            )
        if not self.has_groups():
            raise CompressionError(
                f"scheme {self.name} has groups of {weights.group_size}, which its format fixes; leave group_size out"
            )

    @classmethod
    def has_groups(cls) -> bool:
        """Whether the size of a group is open: a format whose scales have a type of their own fixes it (NVFP4, MXFP4)."""
        weights = cls._plain([]).weights
        return weights is not None and weights.group_size is not None and weights.scale_dtype is None

    def to_compressed_tensors(self, targets: Sequence[str]) -> "QuantizationScheme":
        """The preset with this group size."""
        scheme = self._plain(targets)
        if self.group_size is not None and scheme.weights is not None:
            scheme.weights = scheme.weights.model_copy(update={"group_size": self.group_size})
        return scheme

    @classmethod
    def read(cls, stored: "QuantizationScheme") -> Self | None:
        """This preset, if it stores the same numbers."""
        size = None if stored.weights is None else stored.weights.group_size
        own = cls()
        plain = own.to_compressed_tensors([])
        if cls.has_groups() and size and plain.weights is not None and size != plain.weights.group_size:
            own = dataclasses.replace(own, group_size=size)
            plain = own.to_compressed_tensors([])
        same = _same(plain.weights, stored.weights) and _same(plain.input_activations, stored.input_activations)
        return own if same else None

    def finest(self) -> Scheme:
        """In groups of 16."""
        return dataclasses.replace(self, group_size=_FINEST) if self.has_groups() else self

    @classmethod
    def _plain(cls, targets: Sequence[str]) -> "QuantizationScheme":
        from compressed_tensors.quantization import preset_name_to_scheme

        return preset_name_to_scheme(cls.name, list(targets))


def _same(one: "QuantizationArgs | None", other: "QuantizationArgs | None") -> bool:
    if one is None or other is None:
        return one is other
    return all(getattr(one, key) == getattr(other, key) for key in _DECISIVE)


def _preset(name: str, summary: str) -> type[Preset]:
    """A row of the table; a class, because a strategy's name is its class's."""
    body = {"__doc__": summary, "__module__": __name__, "__annotations__": {}}
    return types.new_class(name, (Preset,), {"name": name}, lambda namespace: namespace.update(body))


W4A16 = _preset("W4A16", "int4 weights, one scale per group along I (of 128 by default); activations stay as they are.")
W8A16 = _preset("W8A16", "int8 weights, one scale per group along I (of 128 by default); activations stay as they are.")
W4A8 = _preset(
    "W4A8", "int4 weights, one scale per group along I (of 128 by default); int8 activations, one dynamic scale per token."
)
W8A8 = _preset("W8A8", "int8 weights, one scale per output channel; int8 activations, one dynamic scale per token.")
FP8_DYNAMIC = _preset(
    "FP8_DYNAMIC", "float8 (E4M3) weights, one scale per output; float8 activations, one dynamic scale per token."
)
