"""Configs that would keep the machine busy for hours, or fill its memory, before anybody could say what is wrong with them.

Transformers makes lists as long as some numbers of a config (layers, labels), and a model on the meta device costs no
memory but a third of a millisecond for each module.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from hf_compress._errors import CompressionError

_LIMITS = (
    (re.compile(r"num_labels"), 2**20),
    (re.compile(r"((num|n)_)?((hidden|encoder|decoder)_)?(layers?|depths?)"), 1_000),
    (re.compile(r".*(layer|depth|block|stage).*"), 10_000),
    (re.compile(r"(.*_)?(num|n)_.*"), 2**24),
)
"""Keys that count something -> the most that is believable; the first that matches."""
_MOST_MODULES = 40_000
_LONGEST = 2**26
"""Of one dimension of a weight."""


def check_counts(config: Any, where: str) -> None:
    """Refuse numbers of layers, labels and the like that no model has.

    Args:
        config: plain data, nested configs included.
        where: what the refusal names, e.g. "model.config".

    Raises:
        CompressionError: naming the key, the number and the most that it can be.
    """
    open_nodes: list[tuple[str, Any]] = [("", config)]
    while open_nodes:
        key, value = open_nodes.pop()
        if isinstance(value, dict):
            open_nodes.extend((str(name), item) for name, item in value.items())
        elif isinstance(value, list | tuple):
            open_nodes.extend((key, item) for item in value)
        elif isinstance(value, int):
            most = next((number for pattern, number in _LIMITS if pattern.fullmatch(key)), None)
            if most is not None and value > most:
                raise CompressionError(f"{where}: {key}={value} is more than any model has; write at most {most}")


@contextlib.contextmanager
def bounded_modules() -> Iterator[None]:
    """Stop building a model that has more parts than any model.

    Raises:
        CompressionError: after some seconds instead of hours.
    """
    count = 0

    def counted(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        nonlocal count
        count += 1
        if count > _MOST_MODULES:
            raise CompressionError(
                f"its config makes a model of more than {_MOST_MODULES} modules; correct the number of its layers"
            )

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


def check_shapes(model: nn.Module, where: str) -> None:
    """Refuse a model with a weight that is too long for any machine.

    Raises:
        CompressionError: naming the weight and its shape.
    """
    for name, parameter in model.named_parameters():
        if max(parameter.shape, default=0) > _LONGEST:
            shape = " x ".join(map(str, parameter.shape))
            raise CompressionError(f"{where}: the config makes {name} {shape} large; correct its sizes")
