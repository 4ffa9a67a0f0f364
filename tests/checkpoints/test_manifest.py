"""compression.json comes back as it was written, also as older versions wrote it."""

import datetime
import hashlib
import importlib.metadata
import json
from pathlib import Path

import pytest

import hf_compress
from hf_compress._errors import CompressionError
from hf_compress.checkpoints.manifest import CHECKPOINT, MANIFEST, Manifest

OLD = Path(__file__).parent / "old_manifests"
CARDS = Path(__file__).parents[2] / "model_cards"


def manifest(**changes):
    content = {"kind": "train", "name": "größe", "recipe": {"job": "train"}, "facts": {"task": "causal_lm", "report": {}}}
    return Manifest(**{**content, **changes})


def test_a_manifest_comes_back_and_says_when_and_with_what(tmp_path):
    made = manifest()
    made.write(tmp_path)
    assert Manifest.read(tmp_path) == Manifest.read(str(tmp_path)) == made
    assert datetime.date.fromisoformat(made.created)
    assert made.versions["hf_compress"] == hf_compress.__version__
    assert made.versions["torch"] == importlib.metadata.version("torch")


def test_the_file_is_flat_text_that_people_can_read(tmp_path):
    manifest().write(tmp_path)
    text = (tmp_path / MANIFEST).read_text(encoding="utf-8")
    assert text.endswith("}\n") and '\n  "task": "causal_lm"' in text
    assert list(json.loads(text)) == ["format", "kind", "name", "task", "report", "recipe", "created", "versions"]
    assert json.loads(text)["name"] == "größe"


def test_a_result_has_the_hashes_of_its_weights_and_a_checkpoint_none(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    manifest().write(tmp_path)
    assert Manifest.read(tmp_path).facts["weights"] == {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    manifest(kind=CHECKPOINT).write(tmp_path)  # they are written often, and resuming compares nothing
    assert "weights" not in Manifest.read(tmp_path).facts


REFUSED = {
    "missing": (None, "holds no compression.json; it was not written by hf_compress"),
    "a later format": ('{"format": 2}', "has format 2, and this version reads format 1; install a later one"),
    "a list": ("[1]", r"is damaged \(it holds no mapping\); export the model again"),
    "half a file": ('{"format": 1, ', r"is damaged \(Expecting property name.*\); export the model again"),
    "no text": (b"\xff", r"is damaged \('utf-8' codec .*\); export"),
    "no recipe": ('{"format": 1}', r"is damaged \(recipe is None\); export"),
    "a recipe of another kind": ('{"format": 1, "recipe": [1]}', r"is damaged \(recipe is \[1\]\); export"),
    "a kind of another kind": ('{"format": 1, "kind": 3, "recipe": {}, "versions": {}}', r"is damaged \(kind is 3\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_manifest_is_refused_in_one_sentence(case, tmp_path):
    content, expected = REFUSED[case]
    if content is not None:
        (tmp_path / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CompressionError, match=expected) as refusal:
        Manifest.read(tmp_path)
    assert "\n" not in str(refusal.value)


def test_whoever_reads_says_the_way_out(tmp_path):
    (tmp_path / MANIFEST).write_text("[]")
    with pytest.raises(CompressionError, match="it holds no mapping.; resume from an earlier checkpoint"):
        Manifest.read(tmp_path, "resume from an earlier checkpoint")


def test_a_fact_that_a_kind_must_have_is_asked_for_in_one_sentence():
    assert manifest().fact("task") == "causal_lm"
    with pytest.raises(CompressionError, match=r"compression.json of größe \(train\) says nothing of 'methods'; export"):
        manifest().fact("methods")


def test_a_fact_may_not_hide_what_every_manifest_has():
    with pytest.raises(CompressionError, match="a fact of a manifest is called recipe"):
        manifest(facts={"recipe": {}})


@pytest.mark.parametrize("folder", sorted(CARDS.iterdir()), ids=lambda folder: folder.name)
def test_published_manifests_are_read_by_their_kind(folder):
    plain = json.loads((folder / MANIFEST).read_text())
    read = Manifest.read(folder)
    assert read.kind == folder.name.split("-")[0]
    assert {"kind": read.kind, **plain} == read.to_plain()


@pytest.mark.parametrize("file", sorted(OLD.iterdir()), ids=lambda file: file.stem)
def test_a_checkpoint_without_a_format_is_one_of_an_unfinished_run(file, tmp_path):
    plain = json.loads(file.read_text())
    (tmp_path / MANIFEST).write_text(file.read_text())
    read = Manifest.read(tmp_path)
    assert (read.kind, read.name, read.created) == (CHECKPOINT, None, None)
    assert read.versions == {"hf_compress": "0.1.0"}
    plain["pruning"]["schedule"]["initial"] = 0.0  # what every schedule did before it could be said
    plain["pruning"]["masks"] = "scored"
    assert read.recipe == {name: plain.pop(name) for name in ("pruning", "quantization", "distillation")}
    del plain["hf_compress"]
    assert read.facts == plain
    # And it can be written again.
    read.write(tmp_path)
    assert Manifest.read(tmp_path) == read
