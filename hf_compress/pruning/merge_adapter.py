"""LoRA adapters merged into a pruned base, whose zeros stay."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.adapters import base_modules, changed_modules, require_lora
from hf_compress._modules.module_kind import kind_of
from hf_compress._modules.plain_model import is_adapted, require_dense
from hf_compress._quiet import quiet
from hf_compress._sharding.contract import is_sharded

logger = logging.getLogger(__name__)

_BY_FILES = "save base and adapter, and use apply_adapters(..., keep_zeros=True)"


@dataclass(frozen=True, kw_only=True)
class AdapterMerge:
    """A model without adapters, and what its zeros cost.

    Attributes:
        model: the base's own class, with the adapters in its weights; frozen, as PEFT leaves it.
        zeros: weights of adapted layers that were zero in the base and are zero in the model.
        lost_norm: Frobenius norm of the adapters' change of those weights, over that of their change of all; in [0, 1].
        lost_by_layer: the same of each adapted layer with zeros, by name.
    """

    model: Any
    zeros: int
    lost_norm: float
    lost_by_layer: Mapping[str, float]

    def summary(self) -> str:
        """One line."""
        return (
            f"merged; {self.zeros} weights of {len(self.lost_by_layer)} adapted layers are pruned and stay 0, and with them"
            f" {100 * self.lost_norm:.1f} % of the norm of the adapter's change is gone"
        )


@torch.no_grad()
def merge_and_keep_zeros(model: Any) -> AdapterMerge:
    """Merge the LoRA adapters of a model into its base, and set what is zero in the base to zero again.

    PEFT computes the merge (DoRA too). What the adapter was trained with and loses, its change of pruned weights, is
    measured: sqrt(sum(D[zero]**2) / sum(D**2)) with D = merged - base. Whatever is exactly zero in the weight of a layer
    with factors counts as pruned, unless the whole of it is. Copies that an adapter saves whole (`modules_to_save`) are as
    they were trained.

    Args:
        model: by PEFT's `get_peft_model`, whole in this process; used up. Adapted weights are there twice for the moment.

    Raises:
        CompressionError: the model has no adapters, others than LoRA, inactive or merged ones, is sharded or quantized, two
            modules hold one weight of which an adapter changes one, or PEFT does not merge; nothing is changed then but by
            the last.
    """
    if not is_adapted(model):
        raise CompressionError(f"{type(model).__name__} has no adapters to merge; it is ready to be saved as it is")
    require_lora(model, "merging")
    require_dense(model, "merging")
    if is_sharded(model):
        raise CompressionError("the model is sharded, and adapters are merged in one process; train the adapter with DDP")
    before = {name: weight.detach().clone() for name, weight in _changed_weights(model).items()}
    with quiet():
        try:
            merged: Any = model.merge_and_unload(safe_merge=True)
        except Exception as error:  # each kind of layer refuses in its own way
            raise CompressionError(f"PEFT does not merge the adapter: {reason_of(error)}") from error
    modules = base_modules(merged)
    lost, zeros, cut, changed = {}, 0, 0.0, 0.0
    for name, base in before.items():
        weight: Tensor = modules[name].weight  # type: ignore[assignment]
        gone, whole = _squares(weight, base)
        if 0 < int((base == 0).sum()) < base.numel():
            weight.masked_fill_(base == 0, 0)
            zeros += int((base == 0).sum())
            lost[name] = math.sqrt(gone / whole) if whole else 0.0
            cut += gone
        changed += whole
    found = AdapterMerge(
        model=merged, zeros=zeros, lost_norm=math.sqrt(cut / changed) if changed else 0.0, lost_by_layer=lost
    )
    logger.info("%s", found.summary())
    return found


def _squares(weight: Tensor, base: Tensor) -> tuple[float, float]:
    """The squared norms, in fp32, of the change of what is zero, and of all."""
    change = weight.float() - base.float()
    return float((change * (base == 0)).square().sum()), float(change.square().sum())


def check_merge(model: nn.Module) -> None:
    """Refuse adapters above a model that is to be pruned, which could not be merged into it when it is.

    Raises:
        CompressionError: see `merge_and_keep_zeros`.
    """
    require_lora(model, "pruning")
    _changed_weights(model)


def _changed_weights(model: nn.Module) -> dict[str, Tensor]:
    """The base's weights that the adapters change, by the names of their modules.

    Raises:
        CompressionError: one of them is shared with another module, or is in no module of a known kind.
    """
    holders: dict[int, list[str]] = {}
    for name, module in base_modules(model).items():
        holders.setdefault(id(getattr(module, "weight", None)), []).append(name)
    found = {}
    for name, module in changed_modules(model).items():
        if kind_of(module) is None:
            raise CompressionError(f"{name} is a {type(module).__name__}, whose zeros are not known here; {_BY_FILES}")
        weight: Tensor = module.weight  # type: ignore[assignment]
        if len(holders[id(weight)]) > 1:
            raise CompressionError(
                f"{' and '.join(holders[id(weight)])} hold one weight and the adapter changes one of them, so that PEFT"
                f" would merge into both; {_BY_FILES}"
            )
        found[name] = weight
    return found
