"""What modules and models are called."""

import re

from torch import nn

_OUTER = ("module.", "base_model.model.")
"""Wrappers around the whole model: DDP's and PEFT's."""


_INNER = ("_orig_mod", "_checkpoint_wrapped_module")
"""Wrappers around any part of it: those of torch.compile and activation checkpointing."""


def canonical_name(name: str) -> str:
    """The module or parameter name without the prefixes that DDP, torch.compile, checkpointing and PEFT add."""
    name = ".".join(part for part in name.split(".") if part not in _INNER)
    while name.startswith(_OUTER):
        name = next(name.removeprefix(wrapper) for wrapper in _OUTER if name.startswith(wrapper))
    return name


def model_name(model: nn.Module) -> str:
    """The architecture as a message names it: its model type, or its class."""
    return getattr(getattr(model, "config", None), "model_type", "") or type(model).__name__


def block_of(name: str) -> str:
    """The name of a module up to its first number, with it (model.layers.3); the name itself where it has none."""
    found = re.match(r"(?:.*?\.)?\d+(?=\.|$)", name)
    return name if found is None else found[0]
