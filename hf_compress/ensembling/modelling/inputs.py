"""What each member reads of the ensemble's inputs."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError

_NUMBERED = re.compile(r"(?P<name>.+)_(?P<group>[1-9]\d*)$")


def numbered(name: str, group: int) -> str:
    """An input's name as the ensemble takes it; group 0 keeps its own."""
    return f"{name}_{group}" if group else name


def placed(value: Any, device: torch.device) -> Any:
    """Something on a device, if it is a tensor with memory."""
    return value.to(device) if isinstance(value, Tensor) and not value.is_meta else value


def split_inputs(inputs: dict[str, Any], groups: set[int]) -> dict[int, dict[str, Any]]:
    """Group -> its inputs by the names its members know.

    Args:
        inputs: by the ensemble's names, without those that are None.
        groups: that the ensemble has.
    """
    split: dict[int, dict[str, Any]] = {group: {} for group in groups}
    for key, value in inputs.items():
        found = _NUMBERED.match(key)
        if found and int(found["group"]) in groups:
            split[int(found["group"])][found["name"]] = value
        else:
            split.setdefault(0, {})[key] = value
    return split


def readable(member: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """Those that a member's forward takes by name: members of other architectures know no token types, for example."""
    method = getattr(member.forward, "__func__", None)
    names = _names(member.forward) if method is None else _names_of(method)
    return {key: value for key, value in inputs.items() if key in names}


def _names(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


_names_of = functools.lru_cache(maxsize=None)(_names)
"""Of a class's method, looked up once: it takes a third as long as a small member's whole pass."""


def refuse_missing(inputs: dict[int, dict[str, Any]], names: list[str], input_groups: list[int]) -> None:
    """Refuse to ask a member that got nothing to read.

    Raises:
        CompressionError: naming it and who makes its inputs.
    """
    for name, group in zip(names, input_groups, strict=True):
        if not inputs.get(group):
            raise CompressionError(
                f"member {name!r} got no inputs: its own end in _{group}, and the processor saved with the ensemble makes"
                " them; a Trainer drops them unless TrainingArguments say remove_unused_columns=False"
            )
