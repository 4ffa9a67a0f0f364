"""Splits from files: what is there is used, what is missing is cut."""

import json

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.row_numbers import NUMBER
from hf_compress.inputs.sections import Data
from tests.small import text_rows, write_jsonl


def rows_of(split):
    return [json.dumps({key: row[key] for key in row if key != NUMBER}, sort_keys=True) for row in split]


def test_files_named_like_splits_are_those_splits(tmp_path):
    for name, count in (("train-00000-of-00002", 4), ("train-00001-of-00002", 5), ("dev", 3), ("test_b", 2)):
        write_jsonl(tmp_path / f"{name}.jsonl", text_rows(count))
    splits = load_splits(Data(path=str(tmp_path)), seed=0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "validation": 3, "test": 2}
    assert rows_of(splits["train"]) == rows_of([*text_rows(4), *text_rows(5)])


def test_splits_go_by_the_names_that_the_recipe_gives_them(tmp_path):
    for number, name in enumerate(("train", "validation", "dev_small", "heldout-00000-of-00001", "test")):
        write_jsonl(tmp_path / f"{name}.jsonl", text_rows(3 + number))
    splits = load_splits(Data(path=str(tmp_path), splits={"validation": "dev_small", "test": "heldout"}), seed=0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 3, "validation": 5, "test": 6}
    with pytest.raises(CompressionError, match="data.splits: .* has no split 'dev', which should be validation"):
        load_splits(Data(path=str(tmp_path), splits={"validation": "dev"}), seed=0)
    with pytest.raises(CompressionError, match="data.splits: .*dev_small.jsonl has no splits that could be named"):
        load_splits(Data(path=str(tmp_path / "dev_small.jsonl"), splits={"test": "heldout"}), seed=0)
    with pytest.raises(CompressionError, match="unknown split 'dev'"):
        Data(path="x", splits={"dev": "validation"})


def test_missing_splits_are_cut_by_the_seed_and_lose_no_row(tmp_path):
    rows = [{"text": str(n)} for n in range(100)]
    data = Data(path=str(write_jsonl(tmp_path / "data.jsonl", rows)), validation_share=0.1)
    first, again, other = (load_splits(data, seed) for seed in (0, 0, 1))
    assert [len(split) for split in first.values()] == [81, 9, 10]
    assert sorted(row for split in first.values() for row in rows_of(split)) == sorted(map(json.dumps, rows))
    assert rows_of(first["test"]) == rows_of(again["test"]) != rows_of(other["test"])


def test_limits_take_rows_by_the_seed(tmp_path):
    data = Data(path=str(write_jsonl(tmp_path / "data.jsonl", text_rows(60))), max_train=7, max_eval=2)
    assert [len(split) for split in load_splits(data, 0).values()] == [7, 2, 2]


def test_paragraphs_of_a_text_file_are_documents(tmp_path):
    (tmp_path / "data.txt").write_text("one\nstill one\n\ntwo\n\nthree\n\nfour\n")
    splits = load_splits(Data(path=str(tmp_path / "data.txt"), validation_share=0.25), 0)
    assert sorted(text for split in splits.values() for text in split["text"]) == [
        "four\n",
        "one\nstill one",
        "three",
        "two",
    ]


NAMES = [
    "data[1].jsonl",
    "data1.jsonl",
    "da?a1.jsonl",
    "*.jsonl",
    "[!d].jsonl",
    "x{y}.jsonl",
    "b#%20 c.jsonl",
    "d[1]/train.jsonl",
]


def test_a_file_name_is_a_name_and_no_pattern(tmp_path):
    for name in NAMES:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        write_jsonl(file, [{"text": name}] * 4)
    read = {name: set(load_splits(Data(path=str(tmp_path / name)), 0)["train"]["text"]) for name in [*NAMES, "d[1]"]}
    assert read == {**{name: {name} for name in NAMES}, "d[1]": {"d[1]/train.jsonl"}}


def test_a_name_that_can_only_be_read_as_a_chain_is_refused(tmp_path):
    file = write_jsonl(tmp_path / "a::b.jsonl", text_rows(4))
    with pytest.raises(CompressionError, match="'::' for an archive; rename it"):
        load_splits(Data(path=str(file)), 0)
