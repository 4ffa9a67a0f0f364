"""The base inside a model with LoRA adapters, under the names that it has without them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.names import canonical_name
from hf_compress._modules.plain_model import is_adapted

COPIED = "the adapter holds a trained copy of it (modules_to_save or trainable_token_indices)"


def base_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by canonical name, in its order; of one with adapters those of its base alone.

    A layer with factors stands for itself under its own name, without them; a layer of which the adapter holds a copy is
    the original.
    """
    if not is_adapted(model):
        return {canonical_name(name): module for name, module in model.named_modules() if name}
    return {canonical_name(one.name): one.module for one in _walk(model) if one.name}


def copied_modules(model: nn.Module) -> set[str]:
    """The names in `base_modules` of what an adapter holds a copy of, so that the original takes no part."""
    return {canonical_name(one.name) for one in _walk(model) if one.copied} if is_adapted(model) else set()


def changed_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Those of `base_modules` whose weights factors of an adapter change."""
    found = (one for one in _walk(model) if one.changed and not one.copied) if is_adapted(model) else ()
    return {canonical_name(one.name): one.module for one in found}


class _Found(NamedTuple):
    name: str
    module: nn.Module
    changed: bool
    copied: bool


def _walk(model: nn.Module, name: str = "", copied: bool = False, seen: set[int] | None = None) -> Iterator[_Found]:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    seen, changed = set() if seen is None else seen, False
    while isinstance(model, BaseTunerLayer | AuxiliaryTrainingWrapper):
        changed, copied = True, copied or isinstance(model, AuxiliaryTrainingWrapper)
        inner: Any = model.original_module if isinstance(model, AuxiliaryTrainingWrapper) else model.get_base_layer()
        model = inner
    if id(model) in seen:
        return
    seen.add(id(model))
    yield _Found(name, model, changed, copied)
    for own, child in model.named_children():
        yield from _walk(child, f"{name}.{own}" if name else own, copied, seen)


def require_lora(model: Any, doing: str) -> None:
    """Refuse adapters whose base cannot be changed beneath them and merged afterwards.

    Args:
        model: perhaps with adapters; only read.
        doing: "pruning".

    Raises:
        CompressionError: an adapter is not LoRA, was not made by `get_peft_model`, is merged into the base for the moment,
            or stands beside others that are not active.
    """
    if not is_adapted(model):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    kinds = {str(getattr(one.peft_type, "value", one.peft_type)) for one in model.peft_config.values()}
    if kinds != {"LORA"} or not hasattr(model, "merge_and_unload"):
        found = ", ".join(sorted(kinds - {"LORA"})) or "one that transformers added (add_adapter)"
        raise CompressionError(
            f"{doing} beneath an adapter knows LoRA by PEFT's get_peft_model, and this is {found}; wrap the model so, or"
            " merge the adapter first (model = model.merge_and_unload())"
        )
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer) and layer.merged:
            raise CompressionError(
                f"the adapter is merged into {canonical_name(name)}, so {doing} would not see the base; take it out first"
                " (model.unmerge_adapter()), or merge it for good (model = model.merge_and_unload())"
            )
    active = [model.active_adapter] if isinstance(model.active_adapter, str) else list(model.active_adapter)
    idle = [name for name in model.peft_config if name not in active]
    if idle:
        raise CompressionError(
            f"of the adapters {list(model.peft_config)} only {active} are active, and {doing} goes with one model; delete"
            f" the others (model.delete_adapter({idle[0]!r})), or activate all"
        )
