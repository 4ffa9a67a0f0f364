"""The checkpoints that a folder holds: itself, or the members of an ensemble, and theirs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._safetensors import OWN_OF_ENSEMBLE, Entry, member_folders, read_entries
from hf_compress.checkpoints.source import Source, open_source
from hf_compress.evaluation.cost.storage import measure_storage


@dataclass(frozen=True, kw_only=True)
class Part:
    """One checkpoint.

    Attributes:
        folder: where it lies.
        source: the same, opened.
        entries: its tensors by name.
    """

    folder: Path
    source: Source
    entries: Mapping[str, Entry]


def parts_of(folder: Path, key: str) -> list[Part]:
    """The checkpoint of a folder, or those of an ensemble's members in order; of one whose members are ensembles theirs.

    Raises:
        CompressionError: one cannot be read; a message names `key`.
    """
    members = member_folders(folder)
    if members:
        return [part for member in members for part in parts_of(member, key)]
    source = open_source(folder, key)
    try:
        return [Part(folder=folder, source=source, entries=read_entries(folder))]
    except CompressionError as error:  # .bin files have no headers to tell kinds of tensors by
        raise CompressionError(f"{key}: {error}") from error


def storage_of(folder: Path, parts: Sequence[Part]) -> dict[str, Any]:
    """See `measure_storage`; of an ensemble the sum, with what is no member's as a kind of its own."""
    each = [measure_storage(part.folder, part.source, part.entries) for part in parts]
    if len(each) == 1:
        return each[0]
    kinds: Counter[str] = Counter()
    for one in each:
        kinds.update(one["by_kind"])
    tensors = sum(kinds.values()) - kinds["headers"]
    num_weights = sum(one["num_weights"] for one in each)
    own = sum(file.stat().st_size for file in folder.rglob(OWN_OF_ENSEMBLE))
    if own:
        kinds["above the members"] = own
    return {
        "file_bytes": own + sum(one["file_bytes"] for one in each),
        "by_kind": dict(kinds.most_common()),
        "num_weights": num_weights,
        "bits_per_weight": 8 * tensors / num_weights if num_weights else None,
    }
