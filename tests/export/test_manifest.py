"""compression.json comes back as it was written."""

import datetime
import importlib.metadata
import json

import pytest

import hf_compress
from hf_compress._errors import CompressionError
from hf_compress.export.manifest import build_manifest, read_manifest, write_manifest

CONTENT = {
    "name": "größe",
    "recipe": {"job": "train"},
    "base_model": None,
    "task": "causal_lm",
    "methods": [],
    "report": {},
}


def test_a_manifest_comes_back_and_says_when_and_with_what(tmp_path):
    manifest = build_manifest(**CONTENT)
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == read_manifest(str(tmp_path)) == manifest
    assert CONTENT.items() <= manifest.items()
    assert datetime.date.fromisoformat(manifest["created"])
    assert manifest["versions"]["hf_compress"] == hf_compress.__version__
    assert manifest["versions"]["torch"] == importlib.metadata.version("torch")


REFUSED = {
    "missing": (None, "holds no compression.json; it was not written by hf_compress"),
    "another format": ('{"format": 2}', "has format 2, and this version reads format 1"),
    "a list": ("[1]", "is no manifest"),
    "half a file": ('{"format": 1, ', "is no manifest"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_manifest_is_refused(case, tmp_path):
    content, expected = REFUSED[case]
    if content is not None:
        (tmp_path / "compression.json").write_text(content)
    with pytest.raises(CompressionError, match=expected):
        read_manifest(tmp_path)


def test_the_file_is_text_that_people_can_read(tmp_path):
    write_manifest(build_manifest(**CONTENT), tmp_path)
    text = (tmp_path / "compression.json").read_text(encoding="utf-8")
    assert text.endswith("}\n") and '\n  "task": "causal_lm"' in text
    assert json.loads(text)["name"] == "größe"
