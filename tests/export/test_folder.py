"""A folder is whole or not there."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.export.folder import written_beside


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


def test_what_a_kill_left_does_not_get_into_the_next_try(tmp_path):
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part" / "old").write_text("half")
    with written_beside(tmp_path / "model") as part:
        (part / "new").write_text("whole")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_left_alone(kind, tmp_path):
    place = tmp_path / "model"
    place.mkdir() if kind == "folder" else place.write_text("mine")
    with (
        pytest.raises(CompressionError, match="model exists already; remove it or choose another folder"),
        written_beside(place),
    ):
        raise AssertionError("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
