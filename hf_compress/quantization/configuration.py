"""The quantization job as a value."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._modules.matching import DEFAULT_IGNORE, DEFAULT_TARGETS
from hf_compress._units import Point, check_point, resolve_point
from hf_compress.quantization.scheme import Scheme
from hf_compress.quantization.schemes.presets import W4A16


@dataclass(frozen=True, kw_only=True)
class Quantization(metaclass=CheckedKinds):
    """What to quantize, how, and from when.

    Attributes:
        scheme: a `Scheme`, or the name of one ("W4A16").
        begin: from this point of training the forward pass is quantized; ignored after training.
        targets: class names, module names or `re:` patterns.
        ignore: the same syntax; wins over targets.
    """

    _takes: ClassVar[dict[str, Any]] = {"scheme": Scheme | str}

    scheme: Scheme = field(default_factory=W4A16)
    begin: Point = "0%"
    targets: tuple[str, ...] = DEFAULT_TARGETS
    ignore: tuple[str, ...] = DEFAULT_IGNORE

    def __post_init__(self) -> None:
        if isinstance(self.scheme, str):
            object.__setattr__(self, "scheme", Scheme.create(self.scheme))
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "ignore", tuple(self.ignore))
        check_point(self.begin, "begin")
        if not self.targets:
            raise CompressionError("quantization.targets is empty; name what to quantize, e.g. [Linear]")

    def check(self, max_steps: int) -> None:
        """Refuse a beginning that training never reaches.

        Raises:
            CompressionError: no step would be trained with quantization.
        """
        begin = resolve_point(self.begin, max_steps)
        if begin >= max_steps:
            earlier = "'60%'" if resolve_point("60%", max_steps) < max_steps else "0"
            raise CompressionError(
                f"quantization begins at step {begin}, but training has {max_steps} steps, so no step would train with it;"
                f" begin earlier, e.g. {earlier}"
            )
