"""A small model of the same architecture with memory, for what only a computation on the CPU shows.

A pass without memory (`_dry_run`) says nothing where the control flow needs values, and lets operations pass that the CPU
refuses: products of two types in einsum, Fourier transforms in float16, types without a kernel.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hf_compress._forward.dry_run import build

_WEIGHTS = 2**25
"""At most this many (128 MiB in fp32), which are built and run within a second or two."""
_LAYERS = ("num_hidden_layers", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers")
_DEEPEST = 64
"""Layers of one stack; the pass through more takes longer than it tells."""
_TOKENS = 1024


def small_twin(model: nn.Module, dtype: torch.dtype, most: int | None = None) -> tuple[Any, bool]:
    """A model of the same class on the CPU with random weights, in evaluation mode.

    Args:
        model: with a config.
        dtype: the type in which the class is asked to build it.
        most: weights; by default as many as are built and run within a second or two.

    Returns:
        The twin, and whether it is as deep as the model: one that would be large or deep has one layer per stack, and few
        tokens where that is large too. None where even that is large, or its config does not allow it.
    """
    for config, whole in _configs(model):
        size = _weights(model, config)
        if size is not None and size <= (_WEIGHTS if most is None else most):
            twin = build(type(model), config, dtype, "cpu")
            if twin is not None:
                return twin, whole
    return None, False


def _configs(model: nn.Module) -> Iterator[tuple[Any, bool]]:
    config: Any = getattr(model, "config", None)
    if config is None:
        return
    if not _exceeding(config, dict.fromkeys(_LAYERS, _DEEPEST)):
        yield config, True
    for limits in (dict.fromkeys(_LAYERS, 1), {**dict.fromkeys(_LAYERS, 1), "vocab_size": _TOKENS}):
        smaller = copy.deepcopy(config)
        for part, key in _exceeding(smaller, limits):
            setattr(part, key, limits[key])
        yield smaller, False


def _exceeding(config: Any, limits: dict[str, int]) -> list[tuple[Any, str]]:
    """Configs and keys of them that are above their limit, nested configs included."""
    parts = [config, *(getattr(config, key, None) for key in getattr(config, "sub_configs", ()))]
    found = [(part, key, getattr(part, key, None)) for part in parts for key in limits]
    return [(part, key) for part, key, value in found if isinstance(value, int) and value > limits[key]]


def _weights(model: nn.Module, config: Any) -> int | None:
    """How many weights a model of this config has; None where the class refuses it."""
    twin = build(type(model), config, None, "meta")
    return None if twin is None else sum(math.prod(parameter.shape) for parameter in twin.parameters())
