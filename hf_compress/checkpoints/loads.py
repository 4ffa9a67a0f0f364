"""Whether a written checkpoint loads, measured by its inputs: names and shapes, without memory for the weights."""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._model_size import bounded_modules
from hf_compress._problems import and_more
from hf_compress._quiet import quiet
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.companions import write_config
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.writer import Layout, lay_out


@dataclass(frozen=True, kw_only=True)
class LoadBack:
    """What loading a result said.

    Attributes:
        sentence: for the report.
        absent: weights of the class that all inputs lack too (encoders saved without their pooler); loading makes new ones.
        ignored: tensors that the class does not load, from an input that has them too (a head of pretraining, old buffers).
    """

    sentence: str
    absent: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Gaps:
    missing: frozenset[str] = frozenset()
    unexpected: frozenset[str] = frozenset()
    mismatched: tuple[str, ...] = ()
    empty: bool = False


def verify_loads(
    folder: Path,
    config: dict[str, Any],
    inputs: Sequence[Source] = (),
    *,
    expected_missing: tuple[str, ...] = (),
    renumbered: bool = False,
    place: Path | None = None,
) -> LoadBack:
    """Load the result by its class; refuse what is missing there and not in every input, or unexpected there alone.

    Args:
        folder: the result.
        config: its config.json.
        inputs: what it was made of, under the result's names; they are looked at only where something is missing or
            unexpected.
        expected_missing: prefixes of tensors that are left out on purpose.
        renumbered: layers have other numbers in the result than in the inputs.
        place: how refusals call the folder; by default as it is.

    Raises:
        CompressionError: the checkpoint is not what the architecture expects.
    """
    place = place or folder
    cls = model_class(config)
    if cls is None:
        named = ", ".join(config.get("architectures") or []) or "no architecture"
        return LoadBack(sentence=f"not loaded: config.json names {named}, which transformers does not have")
    try:
        gaps = _load(folder, cls)
    except Exception as error:  # each architecture refuses in its own way
        reason = reason_of(error)
        raise CompressionError(f"{place}: the merged checkpoint does not load as {cls.__name__}: {reason}") from error
    if gaps.empty:
        raise CompressionError(f"{place}: {cls.__name__} knows no tensor of the merged checkpoint; correct config.json")
    missing = sorted(name for name in gaps.missing if not name.startswith(expected_missing or ("\0",)))
    known = [_gaps_of(source, cls) for source in inputs] if missing or gaps.unexpected else []
    absent = tuple(name for name in missing if known and all(_has(one.missing, name, renumbered) for one in known))
    ignored = tuple(
        sorted(name for name in gaps.unexpected if any(_has(one.unexpected, name, renumbered) for one in known))
    )
    for kind, names, way_out in (
        ("lacks", [name for name in missing if name not in absent], "keep it, or correct config.json"),
        ("has the unknown tensor", sorted(gaps.unexpected.difference(ignored)), "exclude it, or correct config.json"),
        ("has another shape for", gaps.mismatched, "correct config.json"),
    ):
        if names:
            raise CompressionError(
                f"{place}: the merged checkpoint {kind} {and_more(names)} as {cls.__name__} sees it; {way_out}"
            )
    said = [f"absent as in the inputs: {and_more(absent)}"] if absent else []
    said += [f"ignored by the class as in the inputs: {and_more(ignored)}"] if ignored else []
    sentence = f"loads as {cls.__name__}: {'; '.join(said) or 'nothing missing, nothing unexpected'}"
    return LoadBack(sentence=sentence, absent=absent, ignored=ignored)


def write_headers(layout: Layout, folder: Path) -> None:
    """Files that have the headers of a checkpoint, and holes where its weights will be."""
    for shard in layout.shards:
        (folder / shard.file).write_bytes(shard.header)
        os.truncate(folder / shard.file, shard.num_bytes)
    layout.write_index(folder)


def _load(folder: Path, cls: Any) -> _Gaps:
    with quiet(), bounded_modules():
        model, info = cls.from_pretrained(
            folder, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False
        )
    mismatched = [f"{name} ({list(has)}, not {list(wants)})" for name, has, wants in sorted(info["mismatched_keys"])]
    return _Gaps(
        missing=frozenset(info["missing_keys"]),
        unexpected=frozenset(info["unexpected_keys"]),
        mismatched=tuple(mismatched),
        empty=not model.state_dict().keys() - info["missing_keys"],
    )


def _gaps_of(source: Source, cls: Any) -> _Gaps:
    """What the result's class says of one input; nothing where it does not load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_headers(lay_out(source.infos, sum(info.num_bytes for info in source.infos.values()) + 1, {}), folder)
        write_config(source.config, {}, None, folder)
        try:
            return _load(folder, cls)
        except Exception:  # each architecture refuses in its own way, and of an input there is nothing to refuse here
            return _Gaps()


def _has(names: frozenset[str], name: str, renumbered: bool) -> bool:
    """Whether the name is among them, in any layer where layers are renumbered."""
    return name in names or (renumbered and _without_numbers(name) in map(_without_numbers, names))


def _without_numbers(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", name)
