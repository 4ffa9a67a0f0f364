"""The type that a model is stored in."""

import functools
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import failure, runs_without_memory, skeleton
from hf_compress._forward.remembered import Question, question
from hf_compress._forward.small_twin import small_twin
from hf_compress._modules.names import model_name
from hf_compress._random import random_states_kept


def cast_weights(model: nn.Module, dtype: str) -> nn.Module:
    """The model in the type it will be stored in, in place; "auto" leaves it.

    What the class builds, or transformers always loads, in fp32 stays so (rotary frequencies, DeBERTa's `q_bias`, T5's `wo`
    beside float16, the router's bias of many mixtures of experts): rounded, the model would differ from its own checkpoint.

    Raises:
        CompressionError: see `check_dtype`; the model is as it was then.
    """
    target = check_dtype(model, dtype)
    if target is not None:
        cast_as_loaded(model, target)
    return model


def check_dtype(model: nn.Module, dtype: str) -> torch.dtype | None:
    """The torch type of a name, in which the architecture computes; None for "auto".

    Raises:
        CompressionError: it names no floating torch type, or one in which the architecture does not run on the CPU.
    """
    if dtype == "auto":
        return None
    target = floating_type(dtype)
    if target.itemsize < 4 and getattr(model, "config", None) is not None:
        asked = question(model, target)
        reason = _refusal(model, target) if asked is None else _known_refusal(asked)
        if reason:
            raise CompressionError(
                f"{model_name(model)} does not run with weights stored in {dtype} ({reason}); store them in float32"
            )
    return target


@functools.lru_cache(maxsize=32)
def _known_refusal(asked: Question) -> str:
    return _refusal(asked.model(), asked.more)  # type: ignore[arg-type]


def _refusal(model: nn.Module, target: torch.dtype) -> str:
    """Why the architecture does not compute in a type on the CPU; empty where it does, or no batch tells."""
    with random_states_kept():
        twin, whole = small_twin(model, torch.float32)
        if twin is not None and failure(twin) == "":
            reason = failure(cast_as_loaded(small_twin(model, target)[0], target)) or ""
            if reason or whole:
                return reason
        del twin
        return (failure(cast_as_loaded(skeleton(model, target), target)) or "") if runs_without_memory(model) else ""


def cast_as_loaded(model: Any, target: torch.dtype) -> Any:
    """Every tensor in the type in which transformers would load it from weights of this one, in place."""
    persistent = set(model.state_dict())
    kept = _loaded_in_fp32(model, target)
    built = skeleton(model, target) if getattr(model, "config", None) is not None else None
    tensors = [] if built is None else [*built.named_parameters(), *built.named_buffers()]
    own = {name: tensor.dtype for name, tensor in tensors}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if name not in persistent:
            tensor.data = tensor.data.to(own.get(name, tensor.dtype))
        else:
            wide = own.get(name) == torch.float32 or (kept is not None and kept.search(name))
            tensor.data = tensor.data.to(torch.float32 if wide else target)
    if hasattr(model, "config"):
        model.config.dtype = target
    return model


def num_bytes(parameters: Iterable[torch.Tensor]) -> int:
    """Of all numbers, as they are stored; without memory is enough."""
    return sum(parameter.numel() * parameter.itemsize for parameter in parameters)


def floating_type(dtype: str) -> torch.dtype:
    """The torch type of a name.

    Raises:
        CompressionError: it names no floating torch type.
    """
    if isinstance(dtype, torch.dtype):
        raise CompressionError(f"dtype={dtype} is a type, and its name is expected; write dtype={str(dtype)[6:]!r}")
    target = getattr(torch, dtype, None) if isinstance(dtype, str) else None
    if not isinstance(target, torch.dtype) or not target.is_floating_point or target.itemsize < 2:
        raise CompressionError(f"dtype={dtype!r} is not a floating torch type; write auto, bfloat16, float16 or float32")
    return target


def _loaded_in_fp32(model: nn.Module, dtype: torch.dtype) -> re.Pattern[str] | None:
    """Which names the model's class says are loaded in fp32 beside weights of this type; None for none."""
    patterns: set[str] = set()
    if dtype == torch.float16:
        patterns |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    if dtype in (torch.float16, torch.bfloat16):
        patterns |= set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    return re.compile("|".join(sorted(pattern.replace("*", ".*") for pattern in patterns))) if patterns else None
