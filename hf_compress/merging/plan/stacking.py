"""Layer stacking: which layers of which inputs become which layers of the result.

Layers are numbered anew, slice after slice. Tensors before the layers (embeddings) come from the first slice's sources,
tensors after them (final norm, heads) from the last slice's; see `layers.py` for how a name tells.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.layers import LayerPlace, locate
from hf_compress.checkpoints.sized_tensors import config_of, known
from hf_compress.checkpoints.source import Source
from hf_compress.merging.configuration import BASE, Merge
from hf_compress.merging.plan.account import Location

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")
"""How configs call the number of layers."""
_INDEX_LISTS = ("mlp_only_layers", "cross_attention_layers", "moe_layers", "sparse_layers")
"""Lists of layer numbers, as opposed to lists with one entry per layer."""
_NOT_PER_LAYER = re.compile(r"architectures|keys_to_ignore|token_id|label|time_step_limit")
"""Lists whose length has nothing to do with layers, even where it happens to be their number."""
_DERIVED = ("layer_types", "no_rope_layers", "moe_layers")
"""Lists that config classes work out from the layers' numbers where an older config.json does not state them."""
_BY_NUMBER = {
    "sliding_window_pattern": 1,
    "full_attention_interval": 1,
    "interleave_moe_layer_step": 1,
    "decoder_sparse_step": 1,
    "attn_layer_period": 1,
    "expert_layer_period": 1,
    "first_k_dense_replace": 0,
    "no_rope_layer_interval": 0,
    "scale_attn_by_inverse_layer_idx": False,
}
"""Fields that say what a layer is by its number, and the value with which all layers are the same."""
_STATED_BY = {
    "sliding_window_pattern": "layer_types",
    "full_attention_interval": "layer_types",
    "no_rope_layer_interval": "no_rope_layers",
    "interleave_moe_layer_step": "moe_layers",
}
"""The list that says it layer by layer; where that is renumbered, the field decides nothing."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The plan of a stacked model.

    Attributes:
        places: tensor of the result -> where its sources are, in the slice's order, the base among them; sorted by name.
        config: fields of config.json that change, with nested configs whole.
        num_layers: of the result.
    """

    places: dict[str, list[Location]]
    config: dict[str, Any] = field(default_factory=dict)
    num_layers: int

    def members(self) -> dict[str, list[str]]:
        """Tensor -> labels of the members it is merged from, as `resolve` wants them."""
        return {name: [label for label, _ in places if label != BASE] for name, places in self.places.items()}


def config_by_layer(source: Source) -> dict[str, Any]:
    """config.json of a source, with the lists that its class derives."""
    if not known(source):
        return source.config
    derived = config_of(source).to_dict()
    config = _with_derived(source.config, derived)
    if isinstance(config.get("text_config"), dict):
        config["text_config"] = _with_derived(config["text_config"], derived.get("text_config") or {})
    return config


def _with_derived(config: Mapping[str, Any], derived: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, **{key: derived[key] for key in _DERIVED if derived.get(key) and not config.get(key)}}


def stack_layers(merge: Merge, names: Mapping[str, Collection[str]], configs: Mapping[str, Mapping[str, Any]]) -> Stack:
    """The plan for `merge.slices`.

    Args:
        merge: a merge with slices; its first input (the base, or the first member) gives the config.
        names: label -> the names of its tensors.
        configs: label -> its config.json as plain data, see `config_by_layer`; may be empty.

    Raises:
        CompressionError: a range goes past an input's layers, the sources of a slice differ in their tensors or in what
            their layers are, the model has several stacks or stages, or its config does not fit its layers.
    """
    assert merge.slices, "stack_layers is for merges with slices"
    inputs = {label: _Layers(label, found) for label, found in names.items()}
    reference = BASE if merge.base is not None else merge.members[0].label
    for label in dict.fromkeys(source.member for piece in merge.slices for source in piece.sources):
        inputs[label].check(inputs[reference])
    places: dict[str, list[Location]] = {}
    chosen: list[list[tuple[str, int]]] = []  # per layer of the result: (label, layer) of each source
    for number, piece in enumerate(merge.slices):
        labels = [source.member for source in piece.sources]
        for source in piece.sources:
            if source.layers[1] > inputs[source.member].count:
                raise CompressionError(
                    f"slices.{number}: layers {list(source.layers)} go past {source.member}, which has"
                    f" {inputs[source.member].count} layers, 0 to {inputs[source.member].count - 1}"
                )
        if number == 0:
            _add(places, labels, [inputs[label].outside(before=True) for label in labels], number)
        for index in range(piece.sources[0].layers[1] - piece.sources[0].layers[0]):
            layer = [(source.member, source.layers[0] + index) for source in piece.sources]
            found = [inputs[label].named(old, len(chosen)) for label, old in layer]
            _add(places, labels, found, number)
            chosen.append(layer)
        if number == len(merge.slices) - 1:
            _add(places, labels, [inputs[label].outside(before=False) for label in labels], number)
    config = _config(configs, reference, {label: each.count for label, each in inputs.items()}, chosen)
    return Stack(places=dict(sorted(places.items())), config=config, num_layers=len(chosen))


class _Layers:
    """The tensors of one input by layer."""

    def __init__(self, label: str, names: Collection[str]) -> None:
        self.label = label
        self.places: dict[str, LayerPlace] = locate(sorted(names))
        self.stacks = sorted({place.stack for place in self.places.values() if place.stack})
        self.layers: dict[int, list[str]] = {}
        for name, place in self.places.items():
            if place.layer is not None:
                self.layers.setdefault(place.layer, []).append(name)
        self.count = 1 + max(self.layers, default=-1)

    def check(self, reference: "_Layers") -> None:
        if not self.stacks:
            raise CompressionError(f"slices: {self.label} has no numbered layers to stack; merge it without slices")
        if len(self.stacks) > 1:
            raise CompressionError(
                f"slices: {self.label} has {len(self.stacks)} stacks of layers ({', '.join(self.stacks)}), and a range does"
                " not say which is meant; only models with one stack can be stacked"
            )
        if any(place.staged for place in self.places.values()):
            raise CompressionError(
                f"slices: the layers of {self.label} lie in stages of different widths, so they cannot be stacked"
            )
        if self.stacks != reference.stacks:
            raise CompressionError(
                f"slices: {self.label} calls its layers {self.stacks[0]}, and {reference.label}"
                f" {', '.join(reference.stacks) or 'has none'}; only models of one architecture can be stacked"
            )

    def outside(self, before: bool) -> dict[str, str]:
        """Name in the result -> name here, of tensors before or after the layers."""
        return {name: name for name, place in self.places.items() if place.layer is None and (place.depth == 0.0) == before}

    def named(self, old: int, new: int) -> dict[str, str]:
        """Name in the result -> name here, of the layer `old` as layer `new`."""
        return {f"{self.stacks[0]}.{new}.{self.places[name].rest}": name for name in self.layers.get(old, [])}


def _add(places: dict[str, list[Location]], labels: list[str], found: list[dict[str, str]], number: int) -> None:
    """Enter tensors that all sources of a slice have."""
    for label, other in zip(labels, found, strict=True):
        lonely = sorted(set(found[0]) ^ set(other))
        if lonely:
            have, lack = (labels[0], label) if lonely[0] in found[0] else (label, labels[0])
            raise CompressionError(
                f"slices.{number}: {lack} has no tensor for {lonely[0]} of the result, and {have} has; the sources of a"
                " slice need the same tensors"
            )
    for name in found[0]:
        places[name] = [(label, other[name]) for label, other in zip(labels, found, strict=True)]


def _config(
    configs: Mapping[str, Mapping[str, Any]],
    reference: str,
    counts: Mapping[str, int],
    chosen: list[list[tuple[str, int]]],
) -> dict[str, Any]:
    """What changes in the reference's config; fields may lie in its `text_config`."""
    config = configs.get(reference) or {}
    if not config:
        return {}
    nested = "text_config" if not any(key in config for key in _COUNTS) and "text_config" in config else None
    used = dict.fromkeys([reference, *(label for sources in chosen for label, _ in sources)])
    wholes = {label: configs.get(label) or {} for label in used}
    parts = {label: (whole.get(nested) or {}) if nested else whole for label, whole in wholes.items()}
    own = parts[reference]
    keys = [key for key in _COUNTS if own.get(key) == counts[reference]]
    if not keys:
        raise CompressionError(
            f"slices: no field of {reference}'s config.json says that it has {counts[reference]} layers"
            f" (looked for {', '.join(_COUNTS)}); correct the config"
        )
    changes: dict[str, Any] = dict.fromkeys(keys, len(chosen))
    for key, value in own.items():
        if key in _INDEX_LISTS and isinstance(value, list):
            flags = _per_layer(key, chosen, {label: _flags(part, key, counts[label]) for label, part in parts.items()})
            changes[key] = [layer for layer, flag in enumerate(flags) if flag]
        elif isinstance(value, list) and len(value) == counts[reference] > 1 and not _NOT_PER_LAYER.search(key):
            for label, part in parts.items():
                if not isinstance(part.get(key), list) or len(part[key]) != counts[label]:
                    raise CompressionError(
                        f"slices: {key} in the config.json of {label} has not one entry for each of its"
                        f" {counts[label]} layers, as it has in {reference}'s; correct the config"
                    )
            changes[key] = _per_layer(key, chosen, {label: part[key] for label, part in parts.items()})
    _check_by_number(own, chosen, changes)
    return {nested: {**own, **changes}} if nested else changes


def _flags(config: Mapping[str, Any], key: str, count: int) -> list[bool]:
    listed = config.get(key) or []
    return [layer in listed for layer in range(count)]


def _per_layer(key: str, chosen: list[list[tuple[str, int]]], values: Mapping[str, list[Any]]) -> list[Any]:
    """One entry per layer of the result, on which all its sources agree."""
    result = []
    for new, sources in enumerate(chosen):
        entries = [values[label][old] for label, old in sources]
        if any(entry != entries[0] for entry in entries):
            said = ", ".join(
                f"{entry!r} in layer {old} of {label}" for entry, (label, old) in zip(entries, sources, strict=True)
            )
            raise CompressionError(f"slices: layer {new} of the result would merge layers of different {key}: {said}")
        result.append(entries[0])
    return result


def _check_by_number(config: Mapping[str, Any], chosen: list[list[tuple[str, int]]], changes: Mapping[str, Any]) -> None:
    """Refuse to renumber layers whose kind follows from their number."""
    moved = next(((old, new) for new, sources in enumerate(chosen) for _, old in sources if old != new), None)
    if moved is None:
        return
    for key, same in _BY_NUMBER.items():
        if _STATED_BY.get(key) in changes:
            continue
        if config.get(key) not in (None, same):
            raise CompressionError(
                f"slices: {key}={config[key]!r} says by its number what a layer is, and layer {moved[0]} would become"
                f" {moved[1]}; such models can only be stacked in place"
            )
