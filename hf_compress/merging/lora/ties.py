"""Shared weights of a base that an adapter gives different values: an embedding and a head that part."""

import torch

from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.untying import Pair
from hf_compress.merging.lora.adapter import Adapter


def parted_by(adapter: Adapter, source: Source, names: ModelNames) -> set[Pair]:
    """The ties that do not hold in the adapted model.

    PEFT computes with factors and saved copies of one module alone, also where its weight is another's as well. So two
    shared weights part, unless the adapter saves one and the same tensor for both, or a copy of the base's.

    Args:
        adapter: what is merged into the base.
        source: the base.
        names: the base's.
    """
    whole = {names.parameter(name): key for name, key in adapter.whole.items()}
    factors = {names.parameter(f"{module}.weight") for module in adapter.layers}
    factors |= {names.parameter(f"{module}.bias") for module, layer in adapter.layers.items() if "bias" in layer.keys}
    parted: set[Pair] = set()
    for owner in dict.fromkeys(names.tied.values()):
        group = names.tied_group(owner)
        stored = next((names.tensor_of[item] for item in group if item in names.tensor_of), None)
        if stored is None:
            continue
        replaced = {item for item in group if item in whole and not _is_copy(adapter, whole[item], source, stored)}
        changed = replaced | (factors & set(group))
        together = replaced == set(group) and not factors & set(group)
        if together and all(torch.equal(adapter.read(whole[item]), adapter.read(whole[owner])) for item in group):
            continue
        parted |= {(item, owner) for item in group if item != owner and (owner in changed or item in changed)}
    return parted


def _is_copy(adapter: Adapter, key: str, source: Source, stored: str) -> bool:
    """Whether a tensor of the adapter is the base's, which PEFT saves beside factors on embeddings."""
    if adapter.shape(key) != source.infos[stored].shape:
        return False
    saved = adapter.read(key)
    return torch.equal(source.read(stored).to(saved.dtype), saved)
