"""What a merge would write, loaded before anything is computed: all but the weights themselves."""

import logging
import tempfile
from pathlib import Path

from hf_compress._disk import disk_errors
from hf_compress._folders import check_outside
from hf_compress.checkpoints.loads import LoadBack, write_headers
from hf_compress.merging.configuration import Merge
from hf_compress.merging.engine.beside import write_beside
from hf_compress.merging.engine.opened import OpenedMerge

logger = logging.getLogger(__name__)

AGAIN = "run the same merge again, it goes on"


def check_merge_inputs(merge: Merge, out: Path, threads: int = 1) -> OpenedMerge:
    """Open every input, account for every tensor and see that the result would load, without writing it.

    Args:
        merge: the job.
        out: where it would be written.
        threads: of the job.

    Raises:
        CompressionError: with every problem; a full disk.
    """
    with disk_errors(out, AGAIN, every=True):
        job = OpenedMerge(merge, threads)
        check_outside(out, job.inputs())
        job.rehearsed = rehearse(job, out)
        return job


def rehearse(job: OpenedMerge, out: Path) -> LoadBack:
    """Refuse a result that would not load: a tensor left out that the architecture needs, a config that does not fit.

    Files are made that have the headers of the result, and holes where its weights will be.

    Args:
        job: the merge.
        out: where it will be written, for the refusal.

    Raises:
        CompressionError: see `verify_loads`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = job.layout({})
        write_headers(layout, folder)
        beside = write_beside(job, layout, folder, out)
    if beside.left:
        logger.info("not copied from %s: %s", job.tokenizer_folder(), ", ".join(beside.left))
    return beside.loads
