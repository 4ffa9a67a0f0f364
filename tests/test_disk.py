"""A disk that is full or read-only is one sentence, whichever library meets it."""

import errno
from traceback import StackSummary

import pytest
from torch.distributed.checkpoint.api import CheckpointException

from hf_compress import CompressionError
from hf_compress._disk import DiskError, disk_errors

SAID = {
    "system": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "tokenizers": Exception("No space left on device (os error 28)"),
    "safetensors": ValueError("I/O error: No space left on device (os error 28)"),
    "shards": CheckpointException("save", {1: (OSError(errno.ENOSPC, "No space left on device"), StackSummary())}),
}
UNCLEAR = (
    "unexpected pos 1278656 vs 1278544",
    "basic_ios::clear: iostream error",
    "PytorchStreamWriter failed writing file",
)


@pytest.mark.parametrize("library", SAID)
def test_a_full_disk_is_known_from_libraries_that_say_it_their_own_way(library, tmp_path):
    expected = "x: the disk is full; free some space and run the same command again"
    with pytest.raises(DiskError, match=expected) as caught, disk_errors(tmp_path / "x"):
        raise SAID[library]
    assert isinstance(caught.value, CompressionError) and "\n" not in str(caught.value)


@pytest.mark.parametrize("words", UNCLEAR)
def test_torch_names_no_reason(words, tmp_path):
    expected = "x: the disk is full or cannot be written to; once this is mended, go on"
    with pytest.raises(DiskError, match=expected), disk_errors(tmp_path / "x", "go on"):
        raise RuntimeError(f"[enforce fail at inline_container.cc:664] . {words}")


def test_a_read_only_disk_names_its_file(tmp_path):
    for error in (OSError(errno.EROFS, "Read-only file system", "a/b"), Exception("Read-only file system (os error 30)")):
        with pytest.raises(DiskError, match="Read-only file system; once this is mended, run"), disk_errors(tmp_path):
            raise error
    with pytest.raises(DiskError, match="^a/b: "), disk_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system", "a/b")


def test_other_errors_go_through(tmp_path):
    for error in (ValueError("something else"), FileNotFoundError(2, "No such file", "x"), ConnectionError("refused")):
        with pytest.raises(type(error)), disk_errors(tmp_path):
            raise error
    with pytest.raises(DiskError, match="x: No such file; once"), disk_errors(tmp_path, every=True):
        raise FileNotFoundError(2, "No such file", "x")


def test_the_outer_block_says_what_goes_on(tmp_path):
    with (
        pytest.raises(DiskError, match=r"inner: the disk is full; free some space and run the same command with --resume$"),
        disk_errors(tmp_path / "outer", "run the same command with --resume"),
        disk_errors(tmp_path / "inner"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
