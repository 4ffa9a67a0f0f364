"""Which modules a setting means, and the (O, I) matrix inside each.

The targeting syntax is that of compressed-tensors, and its own matcher is used, so that `targets: [Linear]` and
`ignore: ["re:.*lm_head"]` mean during training what they will mean in the checkpoint: a class name, an exact module name,
or `re:` and a regular expression matched from the start of the name.
"""

import collections
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._dry_run import failure, random_state_kept, runs_without_memory, skeleton
from hf_compress._errors import CompressionError
from hf_compress._small_twin import small_twin

_OUTER = ("module.", "base_model.model.")
"""Wrappers around the whole model: DDP's and PEFT's."""
_INNER = ("_orig_mod", "_checkpoint_wrapped_module")
"""Wrappers around any part of it: those of torch.compile and activation checkpointing."""

DEFAULT_TARGETS = ("Linear",)
DEFAULT_IGNORE = ("re:.*(lm_head|embed_out|classifier|score|qa_outputs)",)
"""Output heads are small or tied and hurt most when compressed; every recipe can say otherwise."""


def canonical_name(name: str) -> str:
    """The module or parameter name without the prefixes that DDP, torch.compile, checkpointing and PEFT add."""
    name = ".".join(part for part in name.split(".") if part not in _INNER)
    while name.startswith(_OUTER):
        name = next(name.removeprefix(wrapper) for wrapper in _OUTER if name.startswith(wrapper))
    return name


def weight_matrix(module: nn.Module) -> Tensor:
    """The weight as an (O, I) matrix, to read; `as_stored` is the way back.

    Linear weights are (O, I) already; the `Conv1D` of transformers stores (I, O); convolutions fold their kernel into I, a
    copy where the memory format is channels-last.

    Raises:
        CompressionError: the module holds no such matrix.
    """
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        return module.weight
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.weight.flatten(1)
    if type(module).__name__ == "Conv1D" and isinstance(weight, Tensor):
        return weight.t()
    raise CompressionError(
        f"{type(module).__name__} has no (out, in) weight matrix to compress; target Linear, Conv1D or Conv2d modules"
    )


def as_stored(module: nn.Module, matrix: Tensor) -> Tensor:
    """(O, I) -> the shape in which the module stores its weight: the inverse of `weight_matrix`, for masks."""
    if type(module).__name__ == "Conv1D":
        return matrix.t()
    return matrix.reshape(module.weight.shape)  # type: ignore[union-attr, arg-type]


def num_inputs(module: nn.Module) -> int:
    """How many inputs lie side by side in a row of `input_rows`: those of a Linear, the input channels of a convolution's
    group.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.weight.shape[1]
    return weight_matrix(module).shape[-1]


def input_rows(module: nn.Module, matrix: Tensor) -> Tensor:
    """(O, I) -> (O * K, C): rows whose neighbours are neighbouring input channels; `from_input_rows` is the way back.

    Semi-structured kernels group the inputs of a matrix product, and a convolution is one product over its C input channels
    (of one group) for each of its K kernel positions. For modules without a kernel the matrix is such rows already.
    """
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return matrix
    channels = num_inputs(module)
    return matrix.unflatten(1, (channels, -1)).transpose(1, 2).reshape(-1, channels)


def from_input_rows(module: nn.Module, rows: Tensor) -> Tensor:
    """(O * K, C) -> (O, I): the inverse of `input_rows`."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return rows
    return rows.unflatten(0, (module.out_channels, -1)).transpose(1, 2).flatten(1)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a setting means in a model.

    Attributes:
        modules: the modules to compress, by canonical name, in the model's order.
        left_out: modules that a class name matched and that cannot be compressed: canonical name -> why.
    """

    modules: dict[str, nn.Module]
    left_out: dict[str, str]

    def without(self, reasons: Mapping[str, str], targets: Sequence[str], setting: str) -> "Selection":
        """The same with more modules left out.

        Args:
            reasons: canonical name -> why it cannot be compressed.
            targets: as they were matched.
            setting: how the error names the setting.

        Raises:
            CompressionError: a target names one of them, by its name or a `re:` pattern, or nothing else is left.
        """
        from compressed_tensors.utils.match import match_name

        for name, reason in reasons.items():
            if any(match_name(name, target) for target in targets) or len(reasons) == len(self.modules):
                raise CompressionError(
                    f"{setting}: {name} cannot be compressed: {reason}; add '{name}' to {setting}.ignore"
                )
        kept = {name: module for name, module in self.modules.items() if name not in reasons}
        return Selection(modules=kept, left_out={**self.left_out, **reasons})


def match_modules(model: nn.Module, targets: Sequence[str], ignore: Sequence[str], setting: str) -> dict[str, nn.Module]:
    """The modules of `select_modules`, where what was left out does not matter."""
    return select_modules(model, targets, ignore, setting).modules


def select_modules(model: nn.Module, targets: Sequence[str], ignore: Sequence[str], setting: str) -> Selection:
    """The modules that `targets` name and `ignore` does not.

    A module that cannot be compressed is refused where its name was asked for (a module name or a `re:` pattern), and left
    out where only its class was.

    Args:
        model: searched with `named_modules`.
        targets: class names, module names or `re:` patterns; each must match at least one module.
        ignore: the same syntax; wins over `targets`.
        setting: how the error names the setting, e.g. "pruning".

    Raises:
        CompressionError: a `re:` pattern is none, a target matches nothing, or everything that matches is ignored or left
            out, or a module that was named cannot be compressed: its weight is computed, or shared with another module
            (tied embeddings), which compressing would change silently.
    """
    from compressed_tensors.utils.match import is_match

    modules = {canonical_name(name): module for name, module in model.named_modules() if name}
    for pattern in (*targets, *ignore):
        try:
            re.compile(pattern.removeprefix("re:") if pattern.startswith("re:") else "")
        except re.error as error:
            raise CompressionError(f"{setting}: {pattern!r} is no regular expression: {error}") from error
    for target in targets:
        if not any(is_match(name, module, target) for name, module in modules.items()):
            raise CompressionError(f"{setting}.targets: {target!r} matches no module; {_inventory(modules)}")
    matched = {name: module for name, module in modules.items() if is_match(name, module, targets, ignore)}
    if not matched:
        raise CompressionError(
            f"{setting}: every module that targets={list(targets)} matches is ignored by ignore={list(ignore)};"
            f" {_inventory(modules)}; name other targets, or set ignore to []"
        )
    owners = collections.defaultdict(list)
    for name, module in modules.items():
        if isinstance(getattr(module, "weight", None), Tensor):
            owners[id(module.weight)].append(name)
    left_out = {}
    for name, module in matched.items():
        tied = [other for other in owners[id(getattr(module, "weight", None))] if other != name]
        if reason := _obstacle(module, tied):
            left_out[name] = reason
    return Selection(modules=matched, left_out={}).without(left_out, targets, setting)


def _obstacle(module: nn.Module, tied: Sequence[str]) -> str:
    """Why a matched module cannot be compressed; empty where it can.

    Args:
        module: with a weight.
        tied: other modules that hold the same weight.
    """
    stored = {name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))}
    if "weight" not in stored and isinstance(getattr(module, "weight", None), Tensor):
        return "its weight is computed from other parameters (weight norm or another parametrization)"
    if tied:
        return f"its weight is tied to {min(tied)}, so compressing one changes the other"
    return ""


def _inventory(modules: dict[str, nn.Module]) -> str:
    """What could have been targeted: the classes that hold a weight of two or more dimensions, with their counts."""
    counts = collections.Counter(
        type(module).__name__
        for module in modules.values()
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.dim() >= 2  # type: ignore[union-attr, operator]
    )
    return "the model has " + (", ".join(f"{name} x{count}" for name, count in sorted(counts.items())) or "no matrices")


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
        with random_state_kept():
            reason = _refusal(model, target)
        if reason:
            raise CompressionError(
                f"{model_name(model)} does not run with weights stored in {dtype} ({reason}); store them in float32"
            )
    return target


def model_name(model: nn.Module) -> str:
    """The architecture as a message names it: its model type, or its class."""
    return getattr(getattr(model, "config", None), "model_type", "") or type(model).__name__


def _refusal(model: nn.Module, target: torch.dtype) -> str:
    """Why the architecture does not compute in a type on the CPU; empty where it does, or no batch tells."""
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


def floating_type(dtype: str) -> torch.dtype:
    """The torch type of a name.

    Raises:
        CompressionError: it names no floating torch type.
    """
    if isinstance(dtype, torch.dtype):
        raise CompressionError(f"dtype={dtype} is a type, and its name is expected; write dtype={str(dtype)[6:]!r}")
    target = getattr(torch, dtype, None) if isinstance(dtype, str) else None
    if not isinstance(target, torch.dtype) or not target.is_floating_point or target.itemsize < 2:
        raise CompressionError(f"dtype={dtype!r} is no floating torch type; write auto, bfloat16, float16 or float32")
    return target


def _loaded_in_fp32(model: nn.Module, dtype: torch.dtype) -> re.Pattern[str] | None:
    """Which names the model's class says are loaded in fp32 beside weights of this type; None for none."""
    patterns: set[str] = set()
    if dtype == torch.float16:
        patterns |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    if dtype in (torch.float16, torch.bfloat16):
        patterns |= set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    return re.compile("|".join(sorted(pattern.replace("*", ".*") for pattern in patterns))) if patterns else None
