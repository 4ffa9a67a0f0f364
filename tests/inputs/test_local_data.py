"""Folders as people have them: splits in files, in folders of files, and from save_to_disk."""

import logging

import pytest
from datasets import Dataset, DatasetDict

from hf_compress._errors import CompressionError
from hf_compress.inputs.local_data import load_local
from tests.small import text_rows, write_jsonl


def sizes(path, wanted=None):
    return {name: len(split) for name, split in load_local(path, wanted or {}).items()}


def put(folder, counts):
    for name, count in counts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / name, text_rows(count))
    return folder


def test_files_in_folders_go_by_the_folders_names_where_their_own_say_nothing(tmp_path):
    folder = put(
        tmp_path, {"train/part-0.jsonl": 3, "train/part-1.jsonl": 4, "dev/part-0.jsonl": 2, ".cache/train.jsonl": 9}
    )
    assert sizes(folder) == {"train": 7, "validation": 2}


def test_a_clone_of_the_hub_has_its_files_in_one_folder(tmp_path):
    folder = put(tmp_path, {"data/train-00000-of-00002.jsonl": 3, "data/train-00001-of-00002.jsonl": 1})
    (folder / "README.md").write_text("words")
    assert sizes(put(folder, {"data/test-00000-of-00001.jsonl": 2})) == {"train": 4, "test": 2}


def test_what_is_no_split_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert sizes(put(tmp_path, {"train.jsonl": 3, "extra.jsonl": 1})) == {"train": 3}
    assert "no split, and not read: extra.jsonl" in caplog.text


def test_files_without_names_of_splits_are_training_rows(tmp_path):
    assert sizes(put(tmp_path, {"a.jsonl": 3, "b.jsonl": 1})) == {"train": 4}


def test_a_pattern_is_refused_with_the_way_out(tmp_path):
    put(tmp_path, {"a.jsonl": 3})
    with pytest.raises(CompressionError, match=r"\*.jsonl; a name is no pattern: name the folder"):
        load_local(tmp_path / "*.jsonl", {})


def test_a_data_set_that_was_saved_to_disk_is_training_rows(tmp_path):
    Dataset.from_list(text_rows(9)).save_to_disk(tmp_path / "saved")
    assert sizes(tmp_path / "saved") == {"train": 9}
    with pytest.raises(CompressionError, match=r"has no split 'dev', which should be validation \(known: none\)"):
        load_local(tmp_path / "saved", {"validation": "dev"})


def test_splits_that_were_saved_to_disk_go_by_their_names(tmp_path):
    parts = {"train": 5, "dev": 3, "other": 2}
    DatasetDict({name: Dataset.from_list(text_rows(count)) for name, count in parts.items()}).save_to_disk(tmp_path / "s")
    assert sizes(tmp_path / "s") == {"train": 5, "validation": 3}
    assert sizes(tmp_path / "s", {"test": "other"}) == {"test": 2, "train": 5, "validation": 3}
    with pytest.raises(CompressionError, match=r"has no split 'devel', .* \(known: train, dev, other\)"):
        load_local(tmp_path / "s", {"validation": "devel"})


def test_a_saved_folder_that_is_broken_is_refused(tmp_path):
    Dataset.from_list(text_rows(9)).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(CompressionError, match="written by save_to_disk, cannot be read"):
        load_local(tmp_path / "saved", {})


def test_rows_of_a_file_say_of_which_split_they_are(tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a"}\n')
    assert {name: str(rows.split) for name, rows in load_local(tmp_path, {}).items()} == {
        name: name for name in ("train", "validation", "test")
    }
