"""Merging checkpoints: open, account, stream, load back, rename."""

import functools
import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hf_compress import __version__
from hf_compress._errors import CompressionError
from hf_compress._registry import dump
from hf_compress._units import format_bytes
from hf_compress.merging.architecture import tied_tensors, verify_loads
from hf_compress.merging.checks import check_merge
from hf_compress.merging.companions import copy_companions, resolve_folder, write_chat_template, write_config
from hf_compress.merging.configuration import BASE, Merge
from hf_compress.merging.engine import Engine, TensorRecipe, available_threads
from hf_compress.merging.lora_adapter import Adapter
from hf_compress.merging.lora_source import AdaptedSource
from hf_compress.merging.parameters import resolve
from hf_compress.merging.plan import Account, Location, make_plan
from hf_compress.merging.provenance import input_hashes
from hf_compress.merging.source import Source, open_source
from hf_compress.merging.stacking import stack_layers
from hf_compress.merging.writer import INDEX, Layout, lay_out, require_space

logger = logging.getLogger(__name__)

_JOURNAL = ".merge-journal.json"
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What a merge left behind.

    Attributes:
        folder: the merged checkpoint.
        account: where every tensor went.
        inputs: label -> file -> SHA-256.
        loads: what loading it back said.
        num_bytes: of the tensors.
        seconds: wall time of the streaming.
        resumed: files that an earlier, interrupted merge had finished.
        sparsity: zeros of the inputs and the result; empty without pruned inputs.
        notes: sentences for the report (vocabulary, heads, requantization).
    """

    folder: Path
    account: Account
    inputs: dict[str, dict[str, str]]
    loads: str
    num_bytes: int
    seconds: float
    resumed: int = 0
    sparsity: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """What the command line says at the end."""
        counts = self.account.counts()
        rate = self.num_bytes / max(self.seconds, 1e-9)
        lines = [
            f"{counts['merged']} tensors merged, {counts['copied']} copied, {counts['excluded']} left out by rule;"
            f" {format_bytes(self.num_bytes)} in {self.seconds:.1f} s ({format_bytes(rate)}/s)"
            + (f", {self.resumed} files from an interrupted merge" if self.resumed else ""),
            self.loads,
            *self.notes,
            *(f"zeros in {label}: {share:.4f}" for label, share in self.sparsity.items()),
            f"model and card  {self.folder}",
        ]
        return "\n".join(lines)


Finish = Callable[[Path, MergeResult], None]
"""Called with the folder before it gets its name, to write more into it."""


def merge_checkpoints(
    merge: Merge,
    out: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    finish: Finish | None = None,
) -> MergeResult:
    """Merge checkpoint folders into a new one.

    Everything is checked before the first byte is written; the result is written beside its place and renamed when it
    loads. An interrupted merge goes on at the last finished file when it is started again.

    Args:
        merge: the job.
        out: the new folder; must not exist.
        device: where to compute.
        threads: tensors at once; the result does not depend on it.
        finish: see `Finish`.

    Raises:
        CompressionError: inputs that do not fit together, with every problem; a full disk; NaN.
    """
    out = Path(out)
    if out.exists():
        raise CompressionError(f"{out} exists already; remove it or name another folder")
    job = _Job(merge, threads or available_threads())
    part = out.with_name(f".{out.name}.part")
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise CompressionError(f"{out}: {existing} is a file; name another folder")
    metadata = job.metadata()
    layout = lay_out({name: task.info for name, task in job.account.tasks.items()}, job.shard_bytes, metadata)
    finished = _open_part(part, job.fingerprint(), layout, existing)
    began = time.perf_counter()
    engine = Engine(
        sources=job.sources,
        account=job.account,
        recipe_of=job.recipe_of,
        seed=merge.seed,
        device=device,
        threads=job.threads,
    )
    whole = list(finished)

    def done(file: str) -> None:
        whole.append(file)
        _write_journal(part, job.fingerprint(), whole)

    engine.write(part, layout, finished, done)
    seconds = time.perf_counter() - began
    if len(layout.shards) > 1:
        (part / INDEX).write_text(json.dumps(layout.index(), indent=2) + "\n")
    dtypes = {task.info.dtype for task in job.account.tasks.values() if task.info.dtype.is_floating_point}
    dtype = str(dtypes.pop()).removeprefix("torch.") if len(dtypes) == 1 else None
    config = write_config(job.reference.config, job.changes, dtype, part)
    copy_companions(job.folders[job.reference.label], part)
    if job.merge.chat_template is not None:
        write_chat_template(job.merge.chat_template, list(job.folders.values()), part)
    result = MergeResult(
        folder=out,
        account=job.account,
        inputs=job.hashes,
        loads=verify_loads(part, config),
        num_bytes=layout.num_bytes,
        seconds=seconds,
        resumed=len(finished),
    )
    if finish is not None:
        finish(part, result)
    (part / _JOURNAL).unlink(missing_ok=True)
    part.rename(out)
    return result


def check_merge_inputs(merge: Merge) -> None:
    """Open every input and account for every tensor, without reading weights or writing anything.

    Raises:
        CompressionError: with every problem.
    """
    _Job(merge, available_threads())


class _Job:
    """A merge with its inputs open and every tensor accounted for."""

    def __init__(self, merge: Merge, threads: int) -> None:
        self.merge, self.threads = merge.plain(), threads
        self.shard_bytes = parse_size(merge.max_shard_size, "max_shard_size")
        problems = check_merge(self.merge)
        if problems:
            raise CompressionError("\n".join(problems))
        named = ([(BASE, merge.base)] if merge.base is not None else []) + [
            (member.label, member.model) for member in merge.members
        ]
        self.folders = {label: resolve_folder(model, label) for label, model in named}
        self.sources: dict[str, Source] = {label: open_source(folder, label) for label, folder in self.folders.items()}
        self.reference = next(iter(self.sources.values()))
        self.changes: dict[str, Any] = {}
        self._apply_adapters()
        mapping, members = self._stack()
        tied = tied_tensors(self.folders[self.reference.label], self.reference.config)
        self.account = make_plan(self.merge, self.sources, mapping, tied)
        merged = [name for name, task in self.account.tasks.items() if task.action == "merge"]
        # All names go in: how many layers there are follows from them.
        self.parameters = resolve(self.merge, self.account.tasks, members)
        assert set(merged) <= set(self.parameters)

    def _apply_adapters(self) -> None:
        for member in self.merge.members:
            if member.adapter is not None:
                adapter = Adapter(resolve_folder(member.adapter, member.label))
                self.sources[member.label] = AdaptedSource(self.sources[member.label], adapter)

    def _stack(self) -> tuple[dict[str, list[Location]] | None, dict[str, list[str]] | None]:
        """Where each tensor's sources are when layers are chosen; also changes the config."""
        if self.merge.slices is None:
            return None, None
        names = {label: source.infos for label, source in self.sources.items()}
        stack = stack_layers(self.merge, names, {label: source.config for label, source in self.sources.items()})
        self.changes |= stack.config
        return stack.places, stack.members()

    @functools.cached_property
    def hashes(self) -> dict[str, dict[str, str]]:
        """SHA-256 of every input file; reading them takes a while, so only a merge that goes on asks for them."""
        return input_hashes(self.sources, self.threads)

    def recipe_of(self, name: str) -> TensorRecipe:
        """How the tensor `name` is merged."""
        found = self.parameters[name]
        return TensorRecipe(method=found.method, values=found.values)

    def metadata(self) -> dict[str, str]:
        """What each file's header says about its making."""
        return {
            "hf_compress": json.dumps(
                {"version": __version__, "torch": torch.__version__, "merge": dump(self.merge), "inputs": self.hashes},
                separators=(",", ":"),
            )
        }

    def fingerprint(self) -> str:
        """Equal for merges that write the same bytes."""
        return hashlib.sha256(self.metadata()["hf_compress"].encode()).hexdigest()


def parse_size(text: str, field_name: str) -> int:
    """'5GB' -> 5 000 000 000 bytes.

    Raises:
        CompressionError: it is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", text.upper())
    if match is None or float(match[1]) <= 0:
        raise CompressionError(f"{field_name}={text!r} is no size; write a number and B, KB, MB, GB or TB, e.g. 5GB")
    return max(1, int(float(match[1]) * _UNITS[match[2]]))


def _open_part(part: Path, fingerprint: str, layout: Layout, existing: Path) -> list[str]:
    """The folder being written; what an interrupted run of the same merge finished in it stays.

    Returns:
        The files that are whole.
    """
    finished: list[str] = []
    if part.exists():
        known = _read_journal(part)
        sizes = {shard.file: shard.num_bytes for shard in layout.shards}
        if known.get("fingerprint") == fingerprint:
            finished = [
                file
                for file in known.get("finished", [])
                if file in sizes and (part / file).is_file() and (part / file).stat().st_size == sizes[file]
            ]
            logger.info("going on with an interrupted merge: %d of %d files are there", len(finished), len(sizes))
        else:
            logger.info("%s is left from another merge and is replaced", part)
        for entry in part.iterdir():
            if entry.name not in finished:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    require_space(existing, sum(shard.num_bytes for shard in layout.shards if shard.file not in finished))
    part.mkdir(parents=True, exist_ok=True)
    _write_journal(part, fingerprint, finished)
    return finished


def _read_journal(part: Path) -> Mapping[str, Any]:
    try:
        data: dict[str, Any] = json.loads((part / _JOURNAL).read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return data


def _write_journal(part: Path, fingerprint: str, finished: list[str]) -> None:
    beside = part / f"{_JOURNAL}.part"
    beside.write_text(json.dumps({"fingerprint": fingerprint, "finished": finished}))
    beside.rename(part / _JOURNAL)
