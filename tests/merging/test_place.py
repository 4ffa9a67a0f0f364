"""Where a merge may write, and that one at a time does."""

import os
import subprocess
import sys

import pytest

from hf_compress import CompressionError
from hf_compress.merging.place import check_outside, check_place, existing_parent, held


def test_what_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(CompressionError, match=f"{name} exists already; remove it or name another folder"):
            check_place(tmp_path / name)
    with pytest.raises(CompressionError, match=r"file/a/b: .*/file is a file; name another folder"):
        check_place(tmp_path / "file" / "a" / "b")
    check_place(tmp_path / "new" / "out")
    # root may write everywhere, so what the system would say is put in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CompressionError, match=r"out: .* cannot be written to; name a folder that can"):
        check_place(tmp_path / "out")


def test_inputs_are_not_written_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    check_outside(tmp_path / "a-merged", [tmp_path / "a"])
    for out in (tmp_path / "a" / "out", tmp_path / "link" / "a" / "out"):
        with pytest.raises(CompressionError, match=r"out would lie in .*a, which is an input; name a folder outside"):
            check_outside(out, [tmp_path / "a"])


def test_folders_that_stay_empty_are_removed_again(tmp_path):
    out, part = tmp_path / "x" / "y" / "out", tmp_path / "x" / "y" / ".out.part"
    assert existing_parent(out) == tmp_path
    with held(part, out):
        assert part.is_dir()
    assert not (tmp_path / "x").exists()
    with pytest.raises(RuntimeError), held(part, out):
        (part / "weights").write_text("some")
        raise RuntimeError
    assert (part / "weights").exists()


def test_another_process_that_writes_is_waited_for_by_the_user(tmp_path):
    out, part = tmp_path / "out", tmp_path / ".out.part"
    code = (
        "import sys; from pathlib import Path; from hf_compress.merging.place import held\n"
        "with held(Path(sys.argv[1]), Path(sys.argv[2])):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(part), str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CompressionError, match="out: another merge is writing it; wait until it ends"), held(part, out):
            pass
        other.communicate("go on\n")
    with held(part, out):
        out.mkdir()
    with pytest.raises(CompressionError, match="out exists already"), held(part, out):
        pass
