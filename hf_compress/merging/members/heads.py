"""Members with other labels: whose output head the result has."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.sized_tensors import config_of, known, sized_tensors
from hf_compress.checkpoints.source import Source, TensorInfo
from hf_compress.merging.advice import way_out
from hf_compress.merging.compat import Compat
from hf_compress.merging.configuration import BASE, Heads


@dataclass(frozen=True, kw_only=True)
class ResolvedHeads:
    """What the policy gives back.

    Attributes:
        sources: in the order given, wrapped where a head changes. All present the same head, so its shape agrees.
        copied: tensors that every source presents as the result's; these are not merged.
        dropped: tensors that no source shows any more; a load-back reports them as newly initialized, which is right.
        report: for the manifest.
    """

    sources: tuple[Source, ...]
    copied: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


class HeadSource(Source):
    """A source with another output head and labels."""

    def __init__(
        self, source: Source, heads: Mapping[str, Sequence[Source]], hidden: set[str], config: dict[str, Any]
    ) -> None:
        """Args:
        source: what is wrapped.
        heads: tensor -> the sources whose tensors stand behind one another along the first dimension.
        hidden: tensors that are not shown.
        config: the config.json with the head's labels.
        """
        self.label, self.place, self.config = source.label, source.place, config
        self._source, self._heads = source, heads
        infos = {name: info for name, info in source.infos.items() if name not in hidden}
        for name, parts in heads.items():
            first = parts[0].infos[name]
            size = sum(part.infos[name].shape[0] for part in parts)
            infos[name] = TensorInfo(dtype=first.dtype, shape=(size, *first.shape[1:]))
        self.infos = dict(sorted(infos.items()))

    def read(self, name: str) -> Tensor:
        """One tensor, the result's where it belongs to the head."""
        parts = self._heads.get(name)
        if parts is None:
            return self._source.read(name)
        if len(parts) == 1:
            return parts[0].read(name)
        dtype = self.infos[name].dtype
        return torch.cat([part.read(name).to(dtype) for part in parts])

    def files(self) -> list[Path]:
        """The weight files behind it; sorted."""
        return self._source.files()


def resolve_heads(
    sources: Sequence[Source], members: Sequence[str], heads: Heads, compat: Compat = "paper"
) -> ResolvedHeads:
    """Apply the policy to the tensors that follow the number of labels.

    With "refuse" nothing changes where all heads have the same shape. Layers of a head that do not follow the number of
    labels (a dense layer before the projection) are merged like any other tensor.

    Args:
        sources: the base first where there is one; vocabularies are aligned already.
        members: the labels of the sources that are members, in the recipe's order; only their heads are concatenated.
        heads: the policy.
        compat: the merge's, for advice.

    Raises:
        CompressionError: heads differ in shape or in the order of their labels and the policy is "refuse"; there is no
            head; the named member is unknown or has none; or a head cannot be concatenated.
    """
    labels = [_id2label(source) for source in sources]
    differing = _differing_shapes(sources)
    if not differing and heads.policy == "refuse":
        if all(other == labels[0] for other in labels):
            return ResolvedHeads(sources=tuple(sources))
        _check_order(sources, labels, compat)
        # Only the names differ, and default names (LABEL_0) say nothing: merged, but not in silence.
        return ResolvedHeads(sources=tuple(sources), report={"policy": "merged", "label_names_differ": True})
    found = {source.label: sized_tensors(source, "num_labels") for source in sources if source.config}
    names = sorted({name for axes in found.values() for name in axes})
    for name in names:
        if name in differing and heads.policy == "refuse":
            one, other = differing[name]
            shape, other_shape = list(one.infos[name].shape), list(other.infos[name].shape)
            raise CompressionError(
                f"{name} is {shape} in {one.label} and {other_shape} in {other.label}: their labels differ; "
                + way_out("write heads: {policy: take, member: ...}, {policy: drop} or {policy: concatenate}", compat)
            )
    if heads.policy == "refuse":
        return ResolvedHeads(sources=tuple(sources))  # what else differs is the business of the check of all shapes
    if not names:
        raise CompressionError(
            f"heads: no tensor of {sources[0].label} follows a number of labels, so {heads.policy} has nothing to do; leave"
            " `heads` out"
        )
    if heads.policy == "drop":
        dropped = tuple(name for name in names if name in {key for source in sources for key in source.infos})
        return ResolvedHeads(
            sources=tuple(HeadSource(source, {}, set(dropped), source.config) for source in sources),
            dropped=dropped,
            report={"policy": "drop", "tensors": list(dropped)},
        )
    by_label = {source.label: source for source in sources}
    if heads.policy == "take":
        label = sources[0].label if heads.member == BASE and BASE not in by_label else str(heads.member)
        if label not in by_label:
            raise CompressionError(unknown("heads.member", label, list(by_label)))
        chosen = [by_label[label]]
    else:
        chosen = [by_label[label] for label in members]
    for source in chosen:
        absent = [name for name in names if name not in source.infos]
        if absent:
            raise CompressionError(
                f"heads: {source.label} has no {absent[0]}, so its head cannot be kept; name another member"
            )
    if heads.policy == "concatenate":
        _check_concatenation(chosen, names, found)
    joined = _join_labels(chosen)
    parts = dict.fromkeys(names, chosen)
    return ResolvedHeads(
        sources=tuple(HeadSource(source, parts, set(), _with_labels(source, joined, chosen)) for source in sources),
        copied=tuple(names),
        report={"policy": heads.policy, "members": [source.label for source in chosen], "tensors": names, "labels": joined},
    )


def _id2label(source: Source) -> list[str]:
    """The names of the labels in the order of the head's rows."""
    names = (config_of(source).id2label if known(source) else source.config.get("id2label")) or {}
    return [str(name) for _, name in sorted((int(index), name) for index, name in names.items())]


def _differing_shapes(sources: Sequence[Source]) -> dict[str, tuple[Source, Source]]:
    """Tensors that have another shape in some source than in the first that has them."""
    first: dict[str, Source] = {}
    differing: dict[str, tuple[Source, Source]] = {}
    for source in sources:
        for name, info in source.infos.items():
            owner = first.setdefault(name, source)
            if owner.infos[name].shape != info.shape:
                differing.setdefault(name, (owner, source))
    return differing


def _check_order(sources: Sequence[Source], labels: Sequence[list[str]], compat: Compat) -> None:
    """Refuse to average the rows of two labels where a name says that they are two."""
    rows: dict[str, tuple[Source, int]] = {}
    for source, names in zip(sources, labels, strict=True):
        for row, name in enumerate(names):
            owner, before = rows.setdefault(name, (source, row))
            if before != row and owner is not source:
                raise CompressionError(
                    f"label {name!r} is row {before} of the head in {owner.label} and row {row} in {source.label}, so a"
                    " merge would mix labels; " + way_out("write heads: {policy: take, member: ...}", compat)
                )


def _check_concatenation(chosen: Sequence[Source], names: list[str], found: Mapping[str, Mapping[str, int]]) -> None:
    for name in names:
        for source in chosen:
            size = len(_id2label(source))
            shape, first = source.infos[name].shape, chosen[0].infos[name].shape
            if found[source.label].get(name) != 0 or shape[0] != size or shape[1:] != first[1:]:
                raise CompressionError(
                    f"heads: {name} of {source.label} is {list(shape)} for {size} labels, and rows can only be put behind"
                    " one another where each is one label; take one member's head: heads: {policy: take, member: ...}"
                )


def _join_labels(chosen: Sequence[Source]) -> list[str]:
    """All labels; a name that occurs twice is preceded by its member's, in the manner of a path."""
    lists = [_id2label(source) for source in chosen]
    counts = Counter(name for names in lists for name in names)
    short = [Path(source.label).name for source in chosen]
    owners = short if len(set(short)) == len(short) else [source.label for source in chosen]
    return [
        f"{owner}/{name}" if counts[name] > 1 else name
        for owner, names in zip(owners, lists, strict=True)
        for name in names
    ]


def _with_labels(source: Source, labels: list[str], chosen: Sequence[Source]) -> dict[str, Any]:
    """The source's config.json with the head's labels, and the loss it was trained with where there is one for all."""
    config = copy.deepcopy(source.config)
    config.pop("problem_type", None)
    kinds = {each.config.get("problem_type") for each in chosen}
    if len(kinds) == 1 and None not in kinds:
        config["problem_type"] = kinds.pop()
    config["id2label"] = {str(index): name for index, name in enumerate(labels)}
    config["label2id"] = {name: index for index, name in enumerate(labels)}
    if "num_labels" in config:
        config["num_labels"] = len(labels)
    return config
