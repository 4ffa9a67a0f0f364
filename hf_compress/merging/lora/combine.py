"""Several LoRA adapters into one, without the base."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place
from hf_compress._problems import check_all
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.merging.lora.adapter import Adapter, LoraLayer
from hf_compress.merging.lora.agreement import common_base, fit_together
from hf_compress.merging.lora.factors import check_size, truncate
from hf_compress.merging.lora.write import AdapterType, LoraResult, NewLayer, asked, write_adapter
from hf_compress.recipe.checks import Check, Checked, Opener


def _one_weight_each(adapters: Sequence[str], weights: Sequence[float] | None = None) -> None:
    if weights is not None and len(weights) != len(adapters):
        raise CompressionError(f"weights has {len(weights)} numbers for {len(adapters)} adapters; write one for each")


def _finite(weights: Sequence[float] | None = None) -> None:
    if weights is not None and not all(math.isfinite(weight) for weight in weights):
        raise CompressionError(f"weights={list(weights)}: each must be a finite number")


def _something(adapters: Sequence[str]) -> None:
    if not adapters:
        raise CompressionError("adapters is empty; name at least one folder")


def _one_of_them(adapters: Sequence[str], whole_from: int | None = None) -> None:
    if adapters and whole_from is not None and not 0 <= whole_from < len(adapters):
        raise CompressionError(f"whole_from={whole_from} is not an adapter; they are numbered 0 to {len(adapters) - 1}")


def opened(adapters: Sequence[str]) -> list[Adapter]:
    """Each adapter."""
    found: list[Adapter] = []

    def open_one(adapter: str) -> None:
        found.append(Adapter(resolve_folder(adapter, "adapter"), adapter))

    check_all(*(partial(open_one, adapter) for adapter in adapters))
    return found


@dataclass(frozen=True, kw_only=True)
class AdapterMerge(Checked):
    """The adapter whose change of every layer is sum_i w_i * scale_i * B_i @ A_i.

    Without `rank` and `energy` the factors are stacked: A = [A_1; A_2; ...], B = [w_1 s_1 B_1, w_2 s_2 B_2, ...]. Their
    product is the sum, exactly up to rounding, and the rank is the sum of the ranks. With one of them the stacked
    factors are cut to the best of that rank by `truncate`, which never forms the full matrix; the error is the smallest
    possible.

    A layer that only some adapters change gets the sum over those.

    Attributes:
        adapters: folders or Hub ids of PEFT LoRA adapters of one base. DoRA is refused: its change depends on the base.
        weights: one per adapter; None = 1 for each, so that the changes add up; 1/n each gives their mean.
        rank: of the result; layers whose factors or dimensions allow less keep all they have.
        energy: the share of the squared norm that each layer keeps at least, in (0, 1]; with `rank`, up to that rank.
        base: what the result names as its base; None = the adapters', which must then name the same one.
        whole_from: the number of the adapter, from 0, whose whole tensors (modules_to_save) the result has; None = they
            must be equal in all adapters.
        dtype: of the factors.
    """

    adapters: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    rank: int | None = None
    energy: float | None = None
    base: str | None = None
    whole_from: int | None = None
    dtype: AdapterType = "float32"

    checks: ClassVar[tuple[Check, ...]] = (_something, _one_weight_each, _finite, check_size, _one_of_them)
    opens: ClassVar[tuple[Opener, ...]] = (opened, fit_together)


def merge_adapters(
    adapters: Sequence[str | Path],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    rank: int | None = None,
    energy: float | None = None,
    base: str | None = None,
    whole_from: int | None = None,
    dtype: AdapterType = "float32",
) -> LoraResult:
    """Write to `out` the weighted sum of adapters, without their base.

    `AdapterMerge` has the formula, and says what each argument does.

    Raises:
        CompressionError: adapters that do not fit together.
    """
    check_place(Path(out))
    merge = AdapterMerge(
        adapters=tuple(map(str, adapters)),
        weights=weights,  # type: ignore[arg-type]
        rank=rank,
        energy=energy,
        base=base,
        whole_from=whole_from,
        dtype=dtype,
    )
    return write_sum(merge, merge.open()["opened"], Path(out))


def write_sum(merge: AdapterMerge, opened: Sequence[Adapter], out: Path) -> LoraResult:
    """Write the adapter.

    Args:
        merge: how.
        opened: its adapters, which fit together.
        out: the new folder.

    Raises:
        CompressionError: NaN, or whole tensors that differ.
    """
    rank, energy = merge.rank, merge.energy
    weights = [1.0] * len(opened) if merge.weights is None else list(merge.weights)
    whole = _whole(opened, merge.whole_from) | _base_copies(opened)
    modules = sorted({module for adapter in opened for module in adapter.layers})
    biased = any("bias" in layer.keys for adapter in opened for layer in adapter.layers.values())
    layers = [_stack(opened, weights, module, biased) for module in modules]
    if rank is not None or energy is not None:
        layers = [_cut(layer, rank, energy) for layer in layers]
    keepers = opened if merge.whole_from is None else [opened[merge.whole_from]]
    config = {
        "base_model_name_or_path": common_base(opened, merge.base),
        "task_type": _agreed([adapter.config.get("task_type") for adapter in opened]),
        "fan_in_fan_out": any(adapter.config.get("fan_in_fan_out") for adapter in opened),
        "modules_to_save": sorted({module for adapter in keepers for module in adapter.config.get("modules_to_save") or ()})
        or None,
        "bias": "all" if any(adapter.config.get("bias", "none") != "none" for adapter in keepers) else "none",
    }
    inputs = [
        {"adapter": Path(adapter.label).name, "weight": weight, "sha256": sha256_of(adapter.files()[0])}
        for adapter, weight in zip(opened, weights, strict=True)
    ]
    provenance = {"lora": {"merge": {"rank": rank, "energy": energy}, "inputs": inputs}}
    recipe = {"job": "merge-adapters", **asked(merge, AdapterMerge)}
    return write_adapter(out, layers, whole=whole, config=config, provenance=provenance, recipe=recipe, dtype=merge.dtype)


def _agreed(values: list[Any]) -> Any:
    """The value all of them have, or None."""
    return values[0] if all(value == values[0] for value in values) else None


def _whole(adapters: Sequence[Adapter], whole_from: int | None) -> dict[str, Tensor]:
    """Whole tensors of the result."""
    if whole_from is not None:
        chosen = adapters[whole_from]
        return {name: chosen.read(key) for name, key in chosen.whole.items()}
    found: dict[str, Tensor] = {}
    for name in sorted({name for adapter in adapters for name in adapter.whole}):
        tensors = [adapter.read(adapter.whole[name]) if name in adapter.whole else None for adapter in adapters]
        first = tensors[0]
        if first is None or any(other is None or not torch.equal(first, other) for other in tensors[1:]):
            raise CompressionError(
                f"{name} is saved whole and differs between the adapters (or some lack it), and without the base whole"
                " tensors cannot be added; say whose to keep (whole_from), or merge the adapters into the base"
            )
        found[name] = first
    return found


def _base_copies(adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    """Weights of the base that adapters on embeddings carry."""
    found: dict[str, Tensor] = {}
    for adapter in adapters:
        for name, key in adapter.base_copies.items():
            tensor = adapter.read(key)
            if not torch.equal(found.setdefault(name, tensor), tensor):
                raise CompressionError(
                    f"{adapter.place} carries another {name} of its base than the adapters before it; adapters of different"
                    " bases do not add up"
                )
    return found


def _stack(adapters: Sequence[Adapter], weights: list[float], module: str, biased: bool) -> NewLayer:
    """The weighted sum of one layer's changes as stacked factors."""
    found: list[tuple[Adapter, LoraLayer, float]] = [
        (adapter, adapter.layers[module], weight)
        for adapter, weight in zip(adapters, weights, strict=True)
        if module in adapter.layers
    ]
    first, like, _ = found[0]
    kernel, rows = first.kernel(like), first.shape(like.keys["b"])[0]
    parts = [(*adapter.factors(layer), layer.scale * weight) for adapter, layer, weight in found]
    b, a = torch.cat([b * scale for b, _, scale in parts], dim=1), torch.cat([a for _, a, _ in parts])
    bias = torch.zeros(rows) if biased else None
    for adapter, layer, weight in found:
        own = adapter.read_role(layer, "bias")
        if bias is not None and own is not None:
            bias += own * (layer.scale * weight)
    # ||B A||^2 = trace(B^T B A A^T): two small Gram matrices instead of the product.
    square = float(((b.double().T @ b.double()) * (a.double() @ a.double().T)).sum())
    return NewLayer(module=module, kind=like.kind, b=b, a=a, kernel=kernel, bias=bias, norm=math.sqrt(max(square, 0.0)))


def _cut(layer: NewLayer, rank: int | None, energy: float | None) -> NewLayer:
    b, a, lost = truncate(layer.b, layer.a, rank, energy)
    return NewLayer(
        module=layer.module,
        kind=layer.kind,
        b=b,
        a=a,
        kernel=layer.kernel,
        bias=layer.bias,
        norm=layer.norm,
        lost=lost,
    )
