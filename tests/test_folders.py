"""Where a merge may write, and that one at a time does."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_compress import CompressionError
from hf_compress._disk import DiskError
from hf_compress._folders import (
    check_outside,
    check_place,
    existing_parent,
    held,
    make_folder,
    refuse_link,
    remove,
    replace,
    written_beside,
)


def test_what_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(CompressionError, match=f"{name} exists already; remove it or name another folder"):
            check_place(tmp_path / name)
    with pytest.raises(CompressionError, match=r"/file is a file, and .*/file/a/b would lie in it; name another folder"):
        check_place(tmp_path / "file" / "a" / "b")
    check_place(tmp_path / "new" / "out")
    # root may write everywhere, so what the system would say is put in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CompressionError, match=r" cannot be written to; name a folder that can"):
        check_place(tmp_path / "out")


NO_PLACE = {
    "processes": "/proc/out",
    "below processes": "/proc/self/fd/new/out",
    "devices": "/sys/out",
    "groups of processes, where only files cannot be made": "/sys/fs/cgroup/memory/out",
    "a device": "/dev/null/new/out",
    "a name that is too long": "{tmp}/" + "a" * 300,
    "a name whose part is too long": "{tmp}/" + "a" * 252,
    "a name that is too long in a new folder": "{tmp}/new/" + "a" * 300,
    "a null byte": "{tmp}/a\0b/out",
    "a link to nothing": "{tmp}/dangling/out",
    "a circle of links": "{tmp}/circle/out",
}


@pytest.fixture
def no_place(request, tmp_path):
    """Where the system makes no folder, and what lies around it."""
    place = Path(NO_PLACE[request.param].format(tmp=tmp_path))
    if not place.is_relative_to(tmp_path) and not Path(*place.parts[:2]).exists():
        pytest.skip(f"this system has no {Path(*place.parts[:2])}")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    return place


def refuses(attempt, folder):
    before = sorted(folder.rglob("*"))
    with pytest.raises(CompressionError, match=r"; name (another|a) |; remove the link") as refusal:
        attempt()
    text = str(refusal.value)
    assert "\n" not in text and "\0" not in text and len(text) < 400
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("no_place", NO_PLACE, indirect=True)
def test_a_place_where_nothing_can_be_made_is_one_sentence(no_place, tmp_path):
    refuses(lambda: check_place(no_place), tmp_path)


@pytest.mark.parametrize("no_place", [kind for kind in NO_PLACE if "only" not in kind], indirect=True)
def test_what_is_written_there_without_asking_first_is_one_sentence_too(no_place, tmp_path):
    refuses(lambda: written_beside(no_place).__enter__(), tmp_path)


@pytest.mark.parametrize(
    "no_place", [kind for kind in NO_PLACE if "only" not in kind and "part" not in kind], indirect=True
)
def test_a_folder_that_is_made_in_its_place_is_refused_alike(no_place, tmp_path):
    refuses(lambda: make_folder(no_place), tmp_path)


def test_a_place_is_tried_by_a_folder_that_goes_again(tmp_path):
    check_place(tmp_path / "new" / "out")
    (tmp_path / "there").mkdir()
    check_place(tmp_path / "there" / "out")
    check_place(tmp_path / "new" / ".." / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_full_disk_is_named_before_anything_is_written(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskError, match="out: the disk is full; free some space and run the same command again"):
        check_place(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


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
        "import sys; from pathlib import Path; from hf_compress._folders import held\n"
        "with held(Path(sys.argv[1]), Path(sys.argv[2])):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(part), str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(CompressionError, match="out: another process is writing it; wait until it ends"),
            held(part, out),
        ):
            pass
        other.communicate("go on\n")
    with held(part, out):
        out.mkdir()
    with pytest.raises(CompressionError, match="out exists already"), held(part, out):
        pass


def test_the_folder_appears_when_everything_is_written(tmp_path):
    folder = tmp_path / "new" / "model"
    with written_beside(folder) as part:
        (part / "a").write_text("1")
        assert part.parent == folder.parent and not folder.exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert (folder / "a").read_text() == "1"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing(failure, tmp_path):
    with pytest.raises(failure), written_beside(tmp_path / "model") as part:
        (part / "a").write_text("1")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_does_not_get_into_the_next_try_and_that_is_said(tmp_path, caplog):
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part" / "old").write_text("half")
    with written_beside(tmp_path / "model") as part:
        (part / "new").write_text("whole")
    assert "/model: what a run that was stopped left half written is removed" in caplog.text
    caplog.clear()
    with written_beside(tmp_path / "other"):
        pass
    assert not caplog.text
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_left_alone(kind, tmp_path):
    place = tmp_path / "model"
    place.mkdir() if kind == "folder" else place.write_text("mine")
    with (
        pytest.raises(CompressionError, match="model exists already; remove it or name another folder"),
        written_beside(place),
    ):
        raise AssertionError("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def outside(tmp_path):
    """A folder of somebody else, and what lies in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "thesis").write_text("mine")
    return folder


def test_a_link_where_a_part_is_written_is_refused_and_what_it_points_to_stays(outside, tmp_path):
    (tmp_path / ".out.part").symlink_to(outside)
    for attempt in (lambda: check_place(tmp_path / "out"), lambda: written_beside(tmp_path / "out").__enter__()):
        with pytest.raises(CompressionError, match=r"\.out\.part is a symbolic link to .*outside.*; remove the link"):
            attempt()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part", "outside"]
    assert (outside / "thesis").read_text() == "mine"


def test_a_dangling_link_is_a_result_that_is_there_already(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CompressionError, match="out exists already"), written_beside(tmp_path / "out"):
        raise AssertionError("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_links_between_are_looked_at_where_the_caller_says_from_where(outside, tmp_path):
    (outside / "in").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "averaged").symlink_to(outside)
    place = tmp_path / "run" / "averaged" / "in"
    refuse_link(place)
    for attempt in (
        lambda: refuse_link(place, below=tmp_path),
        lambda: remove(place, below=tmp_path),
        lambda: replace(tmp_path / "new", place, below=tmp_path / "run"),
    ):
        with pytest.raises(CompressionError, match="averaged is a symbolic link"):
            attempt()
    assert place.is_dir()
    remove(tmp_path / "nothing")
    (tmp_path / "new").mkdir()
    replace(tmp_path / "new", outside / "in", below=tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_run_folder_is_held_in_its_place_and_stays_when_it_was_there(tmp_path):
    run = tmp_path / "run"
    with (
        held(run, run),
        pytest.raises(CompressionError, match="run: another run is writing it"),
        held(run, run, "another run"),
    ):
        raise AssertionError("the block must not run")
    assert not run.exists()
    run.mkdir()
    with held(run, run):
        pass
    assert run.is_dir()


def test_a_file_system_without_locks_is_worked_on_with_a_warning(tmp_path, monkeypatch, caplog):
    import fcntl

    def none(descriptor, operation):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", none)
    with held(tmp_path / "run", tmp_path / "run"):
        pass
    assert "its file system has no locks (Bad file descriptor), so a second process is not noticed" in caplog.text


def test_a_folder_inside_a_file_is_refused_when_it_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CompressionError, match=r"/file is a file, and .*/file/out would lie in it; name another"),
        written_beside(tmp_path / "file" / "out"),
    ):
        pass


def test_a_name_that_is_too_long_is_one_sentence(tmp_path):
    with pytest.raises(CompressionError, match="File name too long"), written_beside(tmp_path / ("a" * 300)):
        pass
