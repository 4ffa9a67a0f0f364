"""A name is a folder, a Hub id or a mistake, and the same everywhere."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.location import folder_of, is_hub_id, resolve_folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gpt2", True), ("owner/model", True), ("a/b/c", False), ("./a", False), ("/a", False), ("~/a", False), ("", False)],
)
def test_a_hub_id_is_written_like_one(name, expected):
    assert is_hub_id(name) is expected


def test_a_folder_wins_over_the_hub_and_a_hub_id_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_of("owner/model", "model") is None
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert folder_of("owner/model", "model").samefile(tmp_path / "owner" / "model")
    assert resolve_folder("owner/model", "model") == folder_of("owner/model", "model")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("./nowhere", "there is no folder './nowhere'; name a folder written by save_pretrained, or a Hub id"),
        ("a/b/c", "there is no folder 'a/b/c'; name a folder"),
        ("file", "file is a file; name the folder that holds it"),
        ("a\0b", "cannot be looked up: embedded null"),
        ("~nobody-here/a", "starts with the home of a user who does not exist"),
    ],
)
def test_what_is_neither_is_refused_at_its_key(name, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for find in (folder_of, resolve_folder):
        with pytest.raises(CompressionError, match="^member.a: ") as refusal:
            find(name, "member.a")
        assert sentence in str(refusal.value)


@pytest.mark.parametrize("name", ["x" * 5000, "./" + "x" * 5000, "a\0b", "~nobody/x"])
def test_a_name_that_no_folder_can_have_is_a_sentence(name):
    with pytest.raises(CompressionError, match="^m: ") as refusal:
        resolve_folder(name, "m")
    assert len(str(refusal.value)) < 12_000
