"""Several LoRA adapters into one, without the base."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.merging.lora.adapter import Adapter, LoraLayer
from hf_compress.merging.lora.factors import check_size, truncate
from hf_compress.merging.lora.write import AdapterType, LoraResult, NewLayer, write_adapter


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
    """Write the adapter whose change of every layer is sum_i w_i * scale_i * B_i @ A_i.

    Without `rank` and `energy` the factors are stacked: A = [A_1; A_2; ...], B = [w_1 s_1 B_1, w_2 s_2 B_2, ...]. Their
    product is the sum, exactly up to rounding, and the rank is the sum of the ranks. With one of them the stacked
    factors are cut to the best of that rank by `truncate`, which never forms the full matrix; the error is the smallest
    possible.

    A layer that only some adapters change gets the sum over those.

    Args:
        adapters: folders or Hub ids of PEFT LoRA adapters of one base. DoRA is refused: its change depends on the base.
        out: the new folder.
        weights: one per adapter; None = 1 for each, so that the changes add up; 1/n each gives their mean.
        rank: of the result; layers whose factors or dimensions allow less keep all they have.
        energy: the share of the squared norm that each layer keeps at least, in (0, 1]; with `rank`, up to that rank.
        base: what the result names as its base; None = the adapters', which must then name the same one.
        whole_from: the number of the adapter, from 0, whose whole tensors (modules_to_save) the result has; None = they
            must be equal in all adapters.
        dtype: of the factors.

    Raises:
        CompressionError: adapters that do not fit together.
    """
    out = Path(out)
    check_place(out)
    opened = [Adapter(resolve_folder(str(adapter), "adapter"), str(adapter)) for adapter in adapters]
    weights = [1.0] * len(opened) if weights is None else list(weights)
    _check(opened, weights, rank, energy, whole_from)
    named = _common_base(opened, base)
    whole = _whole(opened, whole_from)
    _check_together(opened, whole)
    whole |= _base_copies(opened)
    modules = sorted({module for adapter in opened for module in adapter.layers})
    biased = any("bias" in layer.keys for adapter in opened for layer in adapter.layers.values())
    stacked = {module: _stack(opened, weights, module, biased) for module in modules}
    if rank is not None and stacked:
        most = max(min(layer.b.shape[0], *layer.a.shape) for layer in stacked.values())
        if rank > most:
            raise CompressionError(
                f"rank={rank} is more than these adapters have: their sum has rank {most} at most; leave rank out to stack"
            )
    keepers = opened if whole_from is None else [opened[whole_from]]
    layers = []
    for layer in stacked.values():
        if rank is not None or energy is not None:
            layers.append(_cut(layer, rank, energy))
        else:
            layers.append(layer)
    config = {
        "base_model_name_or_path": named,
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
    return write_adapter(out, layers, whole=whole, config=config, provenance=provenance, dtype=dtype)


def _check(
    adapters: list[Adapter], weights: list[float], rank: int | None, energy: float | None, whole_from: int | None
) -> None:
    if not adapters:
        raise CompressionError("no adapters; name at least one folder")
    if len(weights) != len(adapters):
        raise CompressionError(f"{len(weights)} weights for {len(adapters)} adapters; give one per adapter")
    if not all(math.isfinite(weight) for weight in weights):
        raise CompressionError(f"weights={weights}: each must be a finite number")
    check_size(rank, energy)
    if whole_from is not None and not 0 <= whole_from < len(adapters):
        raise CompressionError(f"whole_from={whole_from} is no adapter; they are numbered 0 to {len(adapters) - 1}")
    for adapter in adapters:
        if adapter.packed or adapter.tokens:
            field = "target_parameters" if adapter.packed else "trainable_token_indices"
            raise CompressionError(
                f"{adapter.place}: {field}={adapter.config.get(field)!r}: such an adapter is not added to others without"
                " its base; merge it into the base instead"
            )
        for layer in adapter.layers.values():
            if "magnitude" in layer.keys:
                raise CompressionError(
                    f"{adapter.place}: {layer.module} is DoRA, whose change depends on the base's weights; merge it into"
                    " the base instead"
                )


def _check_together(adapters: list[Adapter], whole: dict[str, Tensor]) -> None:
    """Refuse what one PEFT adapter cannot hold, though each of these holds a part of it."""
    layers = {module: (layer, adapter) for adapter in adapters for module, layer in adapter.layers.items()}
    for module, (_, adapter) in layers.items():
        name = f"{module}.weight"
        if name in whole:
            saved = next(other for other in adapters if name in other.whole)
            raise CompressionError(
                f"{module} has factors in {adapter.place} and is saved whole in {saved.place}, and PEFT takes one"
                " of the two; merge the adapters into the base one after the other"
            )
    embedding = next((module for module, (layer, _) in layers.items() if layer.kind == "embedding"), None)
    biased = next((item for item in layers.items() if "bias" in item[1][0].keys), None)
    if embedding is not None and biased is not None:
        module, (_, adapter) = biased
        raise CompressionError(
            f"{embedding} is an embedding, and {module} has a LoRA bias in {adapter.place}, which PEFT does not take"
            " together; merge the adapters into the base one after the other"
        )


def _common_base(adapters: list[Adapter], base: str | None) -> str | None:
    if base is not None:
        return base
    named = {adapter.base: adapter for adapter in adapters if adapter.base}
    if len(named) > 1:
        (first, one), (second, other) = list(named.items())[:2]
        raise CompressionError(
            f"{one.place} was trained on {first!r} and {other.place} on {second!r}; adapters of different bases do not add"
            " up (if it is one base under two names, give base)"
        )
    return next(iter(named), None)


def _agreed(values: list[Any]) -> Any:
    """The value all of them have, or None."""
    return values[0] if all(value == values[0] for value in values) else None


def _whole(adapters: list[Adapter], whole_from: int | None) -> dict[str, Tensor]:
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


def _base_copies(adapters: list[Adapter]) -> dict[str, Tensor]:
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


def _stack(adapters: list[Adapter], weights: list[float], module: str, biased: bool) -> NewLayer:
    """The weighted sum of one layer's changes as stacked factors."""
    found: list[tuple[Adapter, LoraLayer, float]] = [
        (adapter, adapter.layers[module], weight)
        for adapter, weight in zip(adapters, weights, strict=True)
        if module in adapter.layers
    ]
    first, like, _ = found[0]
    shape = (like.kind, first.shape(like.keys["b"])[0], first.kernel(like))
    for adapter, layer, _ in found[1:]:
        other = (layer.kind, adapter.shape(layer.keys["b"])[0], adapter.kernel(layer))
        if other != shape:
            raise CompressionError(
                f"{module} is {shape[0]} {shape[1]} x {list(shape[2])} in {first.place} and {other[0]} {other[1]} x"
                f" {list(other[2])} in {adapter.place}; these adapters belong to different bases"
            )
    parts = [(*adapter.factors(layer), layer.scale * weight) for adapter, layer, weight in found]
    b, a = torch.cat([b * scale for b, _, scale in parts], dim=1), torch.cat([a for _, a, _ in parts])
    bias = torch.zeros(shape[1]) if biased else None
    for adapter, layer, weight in found:
        own = adapter.read_role(layer, "bias")
        if bias is not None and own is not None:
            bias += own * (layer.scale * weight)
    # ||B A||^2 = trace(B^T B A A^T): two small Gram matrices instead of the product.
    square = float(((b.double().T @ b.double()) * (a.double() @ a.double().T)).sum())
    return NewLayer(module=module, kind=like.kind, b=b, a=a, kernel=shape[2], bias=bias, norm=math.sqrt(max(square, 0.0)))


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
