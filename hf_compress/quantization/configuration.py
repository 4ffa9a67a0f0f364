"""The quantization job as a value."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._modules.matching import DEFAULT_IGNORE, DEFAULT_TARGETS
from hf_compress._registry import dump
from hf_compress._units import Point, check_point, resolve_point
from hf_compress.quantization.groups import Group
from hf_compress.quantization.scheme import Scheme
from hf_compress.quantization.schemes.presets import W4A16

_DEFAULT_SCHEME = W4A16()


@dataclass(frozen=True, kw_only=True)
class Quantization(metaclass=CheckedKinds):
    """What to quantize, how, and from when.

    Attributes:
        scheme: a `Scheme`, or the name of one ("W4A16").
        begin: from this point of training the forward pass is quantized; ignored after training.
        targets: class names, module names or `re:` patterns.
        ignore: the same syntax; wins over targets.
        groups: several schemes in one model, each with its targets, in place of `scheme` and `targets`, which are the short
            form of one group. A module belongs to the group that names it, else to the one that names its class.
    """

    _takes: ClassVar[dict[str, Any]] = {"scheme": Scheme | str}

    scheme: Scheme = _DEFAULT_SCHEME
    begin: Point = "0%"
    targets: tuple[str, ...] = DEFAULT_TARGETS
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.scheme, str):
            object.__setattr__(self, "scheme", Scheme.create(self.scheme))
        for name in ("targets", "ignore", "groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_point(self.begin, "begin")
        if not self.targets:
            raise CompressionError("quantization.targets is empty; name what to quantize, e.g. [Linear]")
        if self.groups:
            self._take_groups()

    def _take_groups(self) -> None:
        # By identity, because a default that was written down is a setting too.
        if self.scheme is not _DEFAULT_SCHEME or self.targets is not DEFAULT_TARGETS:
            raise CompressionError(
                "quantization.groups says how every group is quantized, so scheme and targets beside it mean nothing; put"
                " them into a group of their own: {scheme: W4A16, targets: [Linear]}"
            )
        if len(self.groups) == 1 and isinstance(self.groups[0], Group):
            group = self.groups[0]
            for name, value in {"scheme": group.scheme, "targets": group.targets, "groups": ()}.items():
                object.__setattr__(self, name, value)

    @property
    def parts(self) -> tuple[Group, ...]:
        """Its groups: one, where `scheme` and `targets` say it."""
        return self.groups or (Group(scheme=self.scheme, targets=self.targets),)

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes of all groups, each once."""
        return tuple(dict.fromkeys(group.scheme for group in self.parts))

    @property
    def every_target(self) -> tuple[str, ...]:
        """The targets of all groups."""
        return tuple(target for group in self.parts for target in group.targets)

    def to_plain(self, full: bool = False) -> dict[str, Any]:
        """As a recipe says it: `groups`, or `scheme` and `targets`."""
        absent = ("scheme", "targets") if self.groups else ("groups",)
        fields = {field.name: field.default for field in dataclasses.fields(self) if field.name not in absent}
        return {
            name: dump(getattr(self, name), full)
            for name, default in fields.items()
            if full or getattr(self, name) != default
        }

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
