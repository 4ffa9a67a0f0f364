"""Folders of images and sounds: labels by folder, columns by metadata, splits by folder."""

import json

import PIL.Image
import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.local_data import load_local
from tests.sounds import sine, wav


def image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (8, 8), (9, 0, 0)).save(file)


def sound(file, seconds=0.1):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(wav(sine(8000, 200.0, seconds), 8000))


KINDS = {"image": (image, ".png"), "audio": (sound, ".wav")}
kinds = pytest.mark.parametrize("column", KINDS)


def fill(folder, column, names):
    put, ending = KINDS[column]
    for name in names:
        put(folder / f"{name}{ending}")
    return folder


def named(row, column):
    """The file of a row."""
    return row[column] if column == "audio" else row[column].filename


@kinds
def test_folders_are_labels(column, tmp_path):
    folder = fill(tmp_path / "da[t]a", column, ["dog/0", "cat/0", "cat/1"])
    (folder / "notes.txt").write_text("where they come from")
    fill(folder, column, ["__MACOSX/dog/0", ".hidden/2"])
    splits = load_local(folder, {})
    assert list(splits) == ["train"] and splits["train"].features["label"].names == ["cat", "dog"]
    read = sorted((named(row, column), row["label"]) for row in splits["train"])
    ending = KINDS[column][1]
    assert read == [(str(folder / f"{name}{ending}"), label) for name, label in (("cat/0", 0), ("cat/1", 0), ("dog/0", 1))]


@kinds
def test_folders_of_splits_stand_above_those_of_labels(column, tmp_path):
    folder = fill(tmp_path, column, ["train/a/0", "train/b/0", "train/b/1", "dev/b/0", "heldout/a/0"])
    splits = load_local(folder, {"test": "heldout"})
    assert {name: split["label"][:] for name, split in splits.items()} == {
        "train": [0, 1, 1],
        "validation": [1],
        "test": [0],
    }
    with pytest.raises(CompressionError, match=r"has no split 'later', .* \(known: dev, heldout, train\)"):
        load_local(folder, {"test": "later"})


@kinds
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_metadata_says_the_columns(column, form, tmp_path):
    folder, ending = fill(tmp_path, column, ["x/0", "x/1"]), KINDS[column][1]
    rows = [{"file_name": f"x/{number}{ending}", "text": f"say {number}", "label": "ab"[number]} for number in (1, 0)]
    lines = map(json.dumps, rows) if form == "jsonl" else [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / f"metadata.{form}").write_text("".join(line + "\n" for line in lines))
    read = load_local(folder, {})["train"]
    assert [(named(row, column), row["text"], row["label"]) for row in read] == [
        (str(folder / row["file_name"]), row["text"], row["label"]) for row in rows
    ]


REFUSED = {
    "both kinds": (["a.png", "a.wav"], {}, "mixes images and sounds; keep one kind"),
    "nothing": (["a.md"], {}, "has no data files, images or sounds"),
    "metadata beside splits": (["train/a.wav", "test/a.wav"], {"metadata.csv": "file_name\na.wav\n"}, "put one into each"),
    "metadata of one split": (
        ["train/a.wav", "test/a.wav"],
        {"train/metadata.csv": "file_name\na.wav\n"},
        "has no metadata",
    ),
    "no names": (["a.wav"], {"metadata.csv": "file,text\na.wav,b\n"}, r"no column file_name, .* \(columns: file, text\)"),
    "names elsewhere": (
        ["a.wav"],
        {"metadata.csv": "file_name\n../a.wav\n"},
        "row 0 .counted from 0. of .* has the file_name '../a.wav'",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_folder_that_says_two_things_or_nothing_is_refused(mistake, tmp_path):
    files, metadata, message = REFUSED[mistake]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"any")
    for name, text in metadata.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CompressionError, match=f"^data.path: .*{message}"):
        load_local(tmp_path, {})
