"""What a merge calls its models: names that mean the same on every machine and give no folder away."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from hf_compress._paths import absolute, last_parts, local_folder
from hf_compress.merging.configuration import BASE, Member, Merge
from hf_compress.merging.plan.checks import UNION


@dataclass(frozen=True, kw_only=True)
class PublicMerge:
    """A merge as it is computed, and as others may read it.

    Attributes:
        job: every member has a name: its own, or the last part of its local folder (as many parts as tell the folders
            apart), or its Hub id. Random numbers are keyed by these names, so they do not depend on where folders lie.
        merge: the same, with `./` and that part in place of local folders.
    """

    job: Merge
    merge: Merge


def publish(merge: Merge) -> PublicMerge:
    """Name every member, and what names members (rules, take, slices, heads, tokenizer) after it."""
    paths = [merge.base, merge.base_adapter]
    for member in merge.members:
        paths += [member.model, member.adapter, *member.statistics.values()]
    found = {path: local_folder(path) for path in paths if path is not None}
    folders = {path: absolute(folder) for path, folder in found.items() if folder is not None}
    taken = {BASE, UNION, *(member.name for member in merge.members if member.name is not None)}
    naming = {path for member in merge.members if member.name is None for path in (member.model, member.adapter)}
    short = {
        path: last_parts(folder, set(folders.values()), taken if path in naming else ()) for path, folder in folders.items()
    }
    labels = _labels(merge, short)
    if len(set(labels.values())) < len(labels):  # one folder under two spellings
        labels = {label: label for label in labels}
    job = _renamed(merge, labels)

    def shown(path: str) -> str:
        return f"./{short[path]}" if path in short else path

    members = tuple(
        dataclasses.replace(
            member,
            model=shown(member.model),
            adapter=None if member.adapter is None else shown(member.adapter),
            statistics={name: shown(folder) for name, folder in member.statistics.items()},
        )
        for member in job.members
    )
    base, adapter = (None if path is None else shown(path) for path in (merge.base, merge.base_adapter))
    return PublicMerge(job=job, merge=dataclasses.replace(job, members=members, base=base, base_adapter=adapter))


def _labels(merge: Merge, short: Mapping[str, str]) -> dict[str, str]:
    """Label as the recipe knows it -> label of the result."""

    def label(member: Member) -> str:
        parts = [short.get(path, path) for path in (member.model, member.adapter) if path is not None]
        return member.name or "+".join(parts)

    return {member.label: label(member) for member in merge.members}


def _renamed(merge: Merge, labels: Mapping[str, str]) -> Merge:
    replace = dataclasses.replace

    def new(label: str) -> str:
        return labels.get(label, label)

    tokenizer, slices = merge.tokenizer, merge.slices
    if tokenizer is not None:
        rows, missing = (
            {token: new(label) for token, label in each.items()} for each in (tokenizer.rows, tokenizer.missing_rows)
        )
        tokenizer = replace(tokenizer, source=new(tokenizer.source), rows=rows, missing_rows=missing)
    if slices is not None:
        slices = tuple(
            replace(piece, sources=tuple(replace(source, member=new(source.member)) for source in piece.sources))
            for piece in slices
        )
    head = merge.heads.member
    return replace(
        merge,
        members=tuple(replace(member, name=new(member.label)) for member in merge.members),
        rules=tuple(rule if rule.member is None else replace(rule, member=new(rule.member)) for rule in merge.rules),
        take={pattern: new(label) for pattern, label in merge.take.items()},
        slices=slices,
        tokenizer=tokenizer,
        heads=merge.heads if head is None else replace(merge.heads, member=new(head)),
    )
