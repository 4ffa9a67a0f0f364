"""What a quantized checkpoint's config must say so that plain transformers loads it."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from hf_compress._modules.module_kind import kind_of

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationConfig

_EXPERTS_GROUP = "group_dense_experts"


def complete_config(config: "QuantizationConfig", model: nn.Module) -> None:
    """Name everything that stays dense, in place.

    compressed-tensors writes down which modules of a quantized class are dense, by the names on disk. Missing are
    subclasses of the quantized class, which its matcher takes for targets, and names in memory, by which transformers
    matches. Packed experts (one 3-D parameter in memory, a matrix per expert on disk) are no modules: transformers takes
    an expert's matrix to be quantized like the first group that names a class, and fails on dense ones. A float8 group
    for them lets matrices without a scale pass as they are; `ignore` names them too, which wins in readers such as vLLM.

    Args:
        config: as `ModelCompressor.from_pretrained_model(model)` made it.
        model: with schemes on its quantized modules; packed or not.
    """
    from compressed_tensors.quantization import QuantizationScheme
    from compressed_tensors.utils.match import is_match

    ignore = list(config.ignore or [])
    groups = list(config.config_groups.values())
    targets = [target for group in groups for target in group.targets]  # type: ignore[union-attr]
    for name, module in model.named_modules():
        dense = getattr(module, "quantization_scheme", None) is None
        if name and dense and is_match(name, module, targets) and not is_match(name, module, ignore):
            ignore.append(name)
    experts = expert_patterns(model)
    if experts:
        ignore += experts
        if not any(_is_float8(group) for group in groups):
            from compressed_tensors.quantization import QuantizationArgs

            weights = QuantizationArgs(num_bits=8, type="float", strategy="channel", symmetric=True, dynamic=False)
            config.config_groups[_EXPERTS_GROUP] = QuantizationScheme(targets=experts, weights=weights)
    config.ignore = ignore


def expert_patterns(model: nn.Module) -> list[str]:
    """`re:` patterns for the matrices that packed parameters become on disk; empty where they stay packed there.

    Transformers' own renaming for saving is asked, on tensors without memory.
    """
    from transformers.core_model_loading import revert_weight_conversion

    packed = {
        f"{name}.{key}" if name else key: parameter.detach().to("meta")
        for name, module in model.named_modules()
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 3 and kind_of(module) is None
    }
    if not packed:
        return []
    stored = revert_weight_conversion(model, packed)  # type: ignore[arg-type]
    return sorted({pattern for name in stored if name not in packed for pattern in _pattern(name)})


def _pattern(name: str) -> Iterator[str]:
    r"""`...mlp.experts.3.gate_proj.weight` -> `re:.*\.experts\.\d+\.gate_proj$`."""
    parts = name.removesuffix(".weight").split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    if numbers and "experts" in parts[numbers[-1] - 1]:
        tail = [re.escape(parts[numbers[-1] - 1]), r"\d+", *map(re.escape, parts[numbers[-1] + 1 :])]
        yield r"re:.*\." + r"\.".join(tail) + "$"


def _is_float8(group: Any) -> bool:
    return group.weights is not None and group.weights.type == "float" and group.weights.num_bits == 8
