"""Each kind of data file gives the rows that were written, compressed or not."""

import bz2
import csv
import gzip
import io
import json
import lzma

import pytest
from datasets import Dataset

from hf_compress._errors import CompressionError
from hf_compress.inputs.data_files import ending_of, read_files

ROWS = [{"text": "one, two", "label": 0}, {"text": "tab\there", "label": 1}]


def separated(separator):
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "label"], delimiter=separator)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FILES = {
    "a.csv": separated(","),
    "a.tsv": separated("\t"),
    "a.jsonl": LINES,
    "a.json": json.dumps(ROWS).encode(),
    "a.csv.gz": gzip.compress(separated(",")),
    "a.tsv.bz2": bz2.compress(separated("\t")),
    "a.jsonl.xz": lzma.compress(LINES),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_its_rows(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    assert list(read_files([tmp_path / name])) == ROWS


def test_several_files_are_one_behind_the_other_whatever_their_endings_where_one_reader_reads_them(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.json").write_bytes(FILES["a.json"])
    assert list(read_files([tmp_path / "a.jsonl", tmp_path / "b.json"])) == 2 * ROWS
    (tmp_path / "c.tsv").write_bytes(FILES["a.tsv"])
    (tmp_path / "d.csv").write_bytes(FILES["a.csv"])
    with pytest.raises(CompressionError, match="mixes .csv and .tsv files; keep one kind"):
        read_files([tmp_path / "c.tsv", tmp_path / "d.csv"])


def test_an_ending_says_how_a_file_is_read_and_parquet_is_compressed_inside():
    known = ["x.csv", "x.y.jsonl.gz", "x.txt.zst", "x.parquet", "x.parquet.gz", "x.gz", "csv", "x.CSV"]
    assert [ending_of(name) for name in known] == [".csv", ".jsonl", ".txt", ".parquet", None, None, None, None]


def test_what_is_compressed_otherwise_than_its_name_says_is_refused(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(b"nothing of the kind" * 9)
    with pytest.raises(CompressionError, match="a.jsonl.gz cannot be read: "):
        read_files([tmp_path / "a.jsonl.gz"])


def test_parquet_keeps_its_features(tmp_path):
    rows = Dataset.from_list(ROWS).class_encode_column("label")
    rows.to_parquet(tmp_path / "a.parquet")
    assert read_files([tmp_path / "a.parquet"]).features == rows.features
