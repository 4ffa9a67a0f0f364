"""Checks between the fields of a merge that need no file: every problem, before anything is read."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.writer import parse_size
from hf_compress.merging.configuration import BASE, Merge
from hf_compress.merging.method import MergeMethod

_LARGEST = torch.finfo(torch.float32).max
UNION = "union"
"""The tokenizer source that is no label: the tokens of all."""


def parameter_names(method: MergeMethod) -> list[str]:
    """What rules may set for `method`: per-member parameters, and fields that are numbers or switches.

    Names of variants (compat) cannot differ between tensors.
    """
    fields: list[dataclasses.Field[Any]] = list(dataclasses.fields(method))  # type: ignore[arg-type]
    shared = [each.name for each in fields if not isinstance(getattr(method, each.name), str | tuple | list | dict)]
    return list(dict.fromkeys([*per_member(method), *shared]))


def per_member(method: MergeMethod) -> tuple[str, ...]:
    """The parameters that may differ between members; weight is always one."""
    return tuple(dict.fromkeys(("weight", *method.per_member)))


def check_merge(merge: Merge) -> list[str]:
    """What is wrong between the fields of `merge`: one sentence each, [] when nothing is.

    Checked are the members' labels and number, the base the method needs, every place that names a member (rules, take,
    slices, heads, tokenizer), and the names and values of parameters. What depends on tensors (patterns, layers, weights
    that cancel) is `resolve`'s.
    """
    return [
        *_members(merge),
        *_labels(merge),
        *(_slices(merge) if merge.slices is not None else _count(merge, len(merge.members), "members")),
        *_parameters(merge),
        *_statistics(merge),
        *_size(merge),
    ]


def _members(merge: Merge) -> Iterable[str]:
    labels = [member.label for member in merge.members]
    for label, count in Counter(labels).items():
        if count > 1:
            yield f"members: {label!r} stands {count} times; give each a name of its own"
        elif label == BASE:
            yield f"members: the label {BASE!r} means the base model; give the member a name"
    if not labels and merge.slices is None:
        yield "members is empty; name at least one model"
    if merge.method.needs_base and merge.base is None:
        yield f"base is missing, and {merge.method.name} merges differences to it; name the model they were trained from"
    if merge.base_adapter is not None and merge.base is None:
        yield "base_adapter changes the base, and base is missing; name it, or give the adapter to a member"
    if merge.sparsity.policy == "base" and merge.base is None:
        yield "sparsity.policy: base keeps what is not zero in the base, and base is missing; name the base"


def _statistics(merge: Merge) -> Iterable[str]:
    """What data-aware methods need of every member; given to another method it would do nothing."""
    method = merge.method
    for number, member in enumerate(merge.members):
        for name in method.needs:
            if name not in member.statistics:
                yield (
                    f"members.{number}.statistics: {name} is missing, and {method.name} needs it of every member;"
                    " collect it with `job: collect-statistics`, or from Python and save_statistics(), and name the folder"
                )
        for name in member.statistics:
            if name not in method.needs:
                yield unknown(f"members.{number}.statistics: statistic of {method.name}", name, method.needs)


def _count(merge: Merge, count: int, where: str) -> Iterable[str]:
    least, most = merge.method.num_members
    if count < least or (most is not None and count > most):
        wanted = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        yield f"{where}: {merge.method.name} takes {wanted} members beside the base, and {count} are given"


def _labels(merge: Merge) -> Iterable[str]:
    """Names of members that are none."""
    members = [member.label for member in merge.members]
    sources = [*members, BASE] if merge.base is not None else members
    for number, rule in enumerate(merge.rules):
        if rule.member is not None and rule.member not in members:
            yield f"rules.{number}.member: {unknown('member', rule.member, members)}"
    for pattern, label in merge.take.items():
        if label not in sources:
            yield f"take: {pattern!r}: {unknown('member', label, sources)}"
    if merge.heads.member is not None and merge.heads.member not in sources:
        yield f"heads.member: {unknown('member', merge.heads.member, sources)}"
    if merge.tokenizer is not None:
        # Without a base the first member stands in for it.
        if merge.tokenizer.source not in (*members, BASE, UNION):
            yield f"tokenizer.source: {unknown('source', merge.tokenizer.source, [*members, BASE, UNION])}"
        for name in ("rows", "missing_rows"):
            for token, label in getattr(merge.tokenizer, name).items():
                if label not in (*members, BASE):
                    yield f"tokenizer.{name}: {token!r}: {unknown('member', label, sources)}"
        for token in merge.tokenizer.rows.keys() & merge.tokenizer.missing_rows.keys():
            yield f"tokenizer: {token!r} stands in rows and in missing_rows; keep one"


def _slices(merge: Merge) -> Iterable[str]:
    if not merge.slices:
        yield "slices is empty; name at least one, or leave slices out"
    members = [member.label for member in merge.members]
    sources = [*members, BASE] if merge.base is not None else members
    used = {source.member for piece in merge.slices or () for source in piece.sources}
    for number, piece in enumerate(merge.slices or ()):
        where = f"slices.{number}"
        labels = [source.member for source in piece.sources]
        for label in dict.fromkeys(labels):
            if label not in sources:
                yield f"{where}.sources: {unknown('member', label, sources)}"
            elif labels.count(label) > 1:
                yield f"{where}: {label!r} stands twice; list the model under two names in members to merge its layers"
        if labels != [BASE]:
            yield from _count(merge, len(labels) - labels.count(BASE), where)
        if merge.method.needs_base and BASE not in labels:
            yield f"{where}: {merge.method.name} merges differences to the base; add the base's layers to the sources"
    for label in members:
        if label not in used:
            yield f"members: no slice uses {label!r}; leave it out"


def _parameters(merge: Merge) -> Iterable[str]:
    own = per_member(merge.method)
    known = parameter_names(merge.method)
    kind = f"parameter of {merge.method.name}"
    for number, member in enumerate(merge.members):
        where = f"members.{number}"
        for name, value in {"weight": member.weight, **member.values}.items():
            if name == "weight" and name in member.values:
                yield f"{where}.values.weight: a field of the member itself; write it there"
            elif name in own:
                yield from _value(f"{where}.{name}", value)
            elif name in known:
                yield f"{where}.values.{name}: one for all members in {merge.method.name}; set it in method or rules"
            else:
                yield f"{where}.values.{name}: {unknown(f'per-member {kind}', name, own)}"
    for number, rule in enumerate(merge.rules):
        where = f"rules.{number}.set"
        for name, value in rule.set.items():
            if name not in known:
                yield f"{where}.{name}: {unknown(kind, name, known)}"
            elif rule.member is not None and name not in own:
                yield f"{where}.{name}: one for all members in {merge.method.name}; leave `member` out of the rule"
            else:
                yield from _value(f"{where}.{name}", value)


def _size(merge: Merge) -> Iterable[str]:
    try:
        parse_size(merge.max_shard_size, "max_shard_size")
    except CompressionError as error:
        yield str(error)


def _value(where: str, value: Any) -> Iterable[str]:
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        yield f"{where} is an empty list; a gradient needs at least one number"
    for item in items:
        if not isinstance(item, bool | int | float) or not abs(item) <= _LARGEST:
            yield f"{where}={value!r} is not a number in fp32 and no list of them"
            return
