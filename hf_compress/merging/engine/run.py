"""Merging checkpoints: open, account, stream, load back, rename."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_compress._disk import DiskError, disk_errors, require_space
from hf_compress._errors import CompressionError
from hf_compress._folders import check_place, clear, held, part_of
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.writer import Layout
from hf_compress.merging.configuration import Merge
from hf_compress.merging.engine.beside import write_beside
from hf_compress.merging.engine.engine import Engine, available_threads, check_device
from hf_compress.merging.engine.opened import OpenedMerge
from hf_compress.merging.engine.rehearsal import AGAIN, check_merge_inputs
from hf_compress.merging.engine.result import MergeResult

logger = logging.getLogger(__name__)


_JOURNAL = ".merge-journal.json"


_BESIDE = f"{_JOURNAL}.part"
"""The journal while it is written."""


Finish = Callable[[Path, MergeResult], None]
"""Called with the folder before it gets its name, to write more into it."""


Begin = Callable[[OpenedMerge], None]
"""Called with the job before anything is written, to refuse what `Finish` could not do."""


def merge_checkpoints(
    merge: Merge,
    out: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    opened: OpenedMerge | None = None,
    begin: Begin | None = None,
    finish: Finish | None = None,
) -> MergeResult:
    """Merge checkpoint folders into a new one, dense.

    Everything is checked before the first byte is written; the result is written beside its place and renamed when it
    loads. An interrupted merge goes on at the last finished file when it is started again.

    Args:
        merge: the job.
        out: the new folder; must not exist.
        device: where to compute.
        threads: tensors at once; the result does not depend on it.
        opened: what `check_merge_inputs` found of the same merge, where that was asked.
        begin: see `Begin`.
        finish: see `Finish`.

    Raises:
        CompressionError: inputs that do not fit together, with every problem; a full disk; NaN.
    """
    out = Path(out)
    check_place(out)
    check_device(device)
    if threads is not None and threads < 1:
        raise CompressionError(f"threads={threads} computes nothing; use 1 or more, or leave it out for all cores")
    part = part_of(out)
    with disk_errors(out, AGAIN, every=True):
        job = opened or check_merge_inputs(merge, out)
        job.threads = threads or available_threads()
        if begin is not None:
            begin(job)
        layout = job.layout(job.metadata())
        with held(part, out, "another merge"):
            try:
                return _write(part, out, job, layout, device, finish)
            except DiskError:
                raise
            except CompressionError:  # of what goes in, and with another input it is another merge
                if (part / _JOURNAL).is_file():
                    clear(part)
                raise


def _write(part: Path, out: Path, job: OpenedMerge, layout: Layout, device: str, finish: Finish | None) -> MergeResult:
    finished = _open_part(part, job, layout)
    began = time.perf_counter()
    _stream(part, job, layout, finished, device)
    seconds = time.perf_counter() - began
    beside = write_beside(job, layout, part, out)
    reports: dict[str, Any] = {
        "names": dict(job.names.report),
        "vocabulary": dict(job.vocabulary.report),
        "heads": dict(job.heads.report),
        "zeros": job.sparsity.report(),
        "files": beside.report(),
    }
    result = MergeResult(
        folder=out,
        account=job.account,
        merge=job.public.merge,
        inputs=job.hashes,
        loads=beside.loads.sentence,
        architecture=getattr(model_class(beside.config), "__name__", None),
        num_bytes=layout.num_bytes,
        seconds=seconds,
        resumed=len(finished),
        reports={name: report for name, report in reports.items() if report},
        quantized=job.quantized,
        quantization=job.quantization,
    )
    if finish is not None:
        finish(part, result)
    part.rename(out)
    (out / _JOURNAL).unlink(missing_ok=True)  # last, because a part without its journal is nobody's
    return result


def _stream(part: Path, job: OpenedMerge, layout: Layout, finished: list[str], device: str) -> None:
    engine = Engine(
        sources=job.sources,
        account=job.account,
        parameters_of=job.parameters_of,
        sparsity=job.sparsity,
        statistics=job.statistics,
        seed=job.merge.seed,
        device=device,
        threads=job.threads,
    )
    whole = list(finished)

    def done(file: str) -> None:
        whole.append(file)
        _write_journal(part, job, whole)

    engine.write(part, layout, finished, done)


def _open_part(part: Path, job: OpenedMerge, layout: Layout) -> list[str]:
    """The folder being written; what an interrupted run of the same merge finished in it stays.

    Returns:
        The files that are whole.

    Raises:
        CompressionError: it holds files that no merge wrote.
        DiskError: what is to be written does not fit.
    """
    finished: list[str] = []
    foreign = sorted(entry.name for entry in part.iterdir() if entry.name != _BESIDE)
    if foreign and not (part / _JOURNAL).is_file():
        raise CompressionError(
            f"{part} holds files that no merge wrote, first {foreign[0]}, and a merge empties it; remove it or name another"
            " folder for the result"
        )
    if foreign:
        known = _read_journal(part)
        sizes = {shard.file: shard.num_bytes for shard in layout.shards}
        if known.get("fingerprint") == job.fingerprint:
            finished = [file for file in known.get("finished", []) if file in sizes and _is_whole(part / file, sizes[file])]
            job.sparsity.rows.update(known.get("zeros", {}))
            logger.info("going on with an interrupted merge: %d of %d files are there", len(finished), len(sizes))
        else:
            logger.info("%s is left from another merge and is replaced", part)
    clear(part, [*finished, _JOURNAL])
    require_space(part, sum(shard.num_bytes for shard in layout.shards if shard.file not in finished))
    _write_journal(part, job, finished)
    return finished


def _is_whole(file: Path, size: int) -> bool:
    return file.is_file() and not file.is_symlink() and file.stat().st_size == size


def _read_journal(part: Path) -> Mapping[str, Any]:
    try:
        data: dict[str, Any] = json.loads((part / _JOURNAL).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_journal(part: Path, job: OpenedMerge, finished: list[str]) -> None:
    """What is whole, and what was counted on the way, as a resumed merge will not see those tensors again."""
    beside = part / _BESIDE
    content = {"fingerprint": job.fingerprint, "finished": finished, "zeros": dict(job.sparsity.rows)}
    beside.write_text(json.dumps(content))
    beside.rename(part / _JOURNAL)
