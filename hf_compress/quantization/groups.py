"""Groups: which modules of a model have which scheme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class Group(metaclass=CheckedKinds):
    """Modules that are quantized alike.

    Attributes:
        scheme: a `Scheme`, or the name of one ("W4A16").
        targets: class names, module names or `re:` patterns.
    """

    _takes: ClassVar[dict[str, Any]] = {"scheme": Scheme | str}

    scheme: Scheme
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.scheme, str):
            object.__setattr__(self, "scheme", Scheme.create(self.scheme))
        object.__setattr__(self, "targets", tuple(self.targets))
        if not self.targets:
            raise CompressionError("targets is empty; name what to quantize, e.g. [Linear]")


def group_of(groups: Sequence[Group], name: str, module: nn.Module) -> int | None:
    """The group a module is in: the one that names it, else the one that names its class; None for none.

    So do those who load the checkpoint decide (compressed-tensors: `match_targets`). Where they would go by the order of
    letters or of groups, which nobody means, it is refused.

    Args:
        groups: in the recipe's order.
        name: canonical.
        module: of that name.

    Raises:
        CompressionError: two groups name the module, or two name a class of it and none the module.
    """
    from compressed_tensors.utils.match import is_match, match_name

    named = [place for place, group in enumerate(groups) if any(match_name(name, target) for target in group.targets)]
    found = named or [place for place, group in enumerate(groups) if is_match(name, module, group.targets)]
    if len(found) > 1:
        how = "by its name" if named else "by its class"
        raise CompressionError(
            f"quantization.groups: {name} is in groups {found[0]} and {found[1]}, both {how}; a module belongs to the group"
            " that names it, else to the one that names its class: let one of the two targets leave it out"
        )
    return found[0] if found else None


def assigned(modules: Mapping[str, nn.Module], groups: Sequence[Group]) -> dict[str, int]:
    """The group of every module.

    Args:
        modules: what is to be quantized, by canonical name.
        groups: in the recipe's order.

    Raises:
        CompressionError: see `group_of`, or a group is left without a module.
    """
    places = {name: place for name, module in modules.items() if (place := group_of(groups, name, module)) is not None}
    for place, group in enumerate(groups):
        if place not in places.values():
            raise CompressionError(
                f"quantization.groups.{place}: every module that targets={list(group.targets)} matches is ignored, left"
                " dense, or named by another group; name other modules, or take this group out"
            )
    return places
