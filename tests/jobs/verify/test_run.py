"""A published folder, measured again, unchanged and changed."""

import importlib.util
import json
import math
import random
import shutil
from pathlib import Path

import pytest

from hf_compress import CompressionError
from hf_compress.checkpoints.hashes import companion_hashes
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.export.card.render import render_card
from hf_compress.jobs.verify.run import _compare, verify

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location("verify_mutations", ROOT / "scripts" / "verify_mutations.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    place = tmp_path_factory.mktemp("published")
    data = script.write_rows(place / "rows")
    return script.publish(place / "run", data), data


@pytest.fixture
def copied(published, tmp_path):
    folder, data = published
    return shutil.copytree(folder, tmp_path / "copy"), shutil.copytree(data, tmp_path / "rows")


def wrong(folder, data, **options):
    """What does not hold, by what it is about."""
    return {check.what: check.says for check in verify(str(folder), str(data), **options).checks if check.holds is False}


def test_an_unchanged_folder_holds_in_every_number(published, call):
    folder, data = published
    checks = {check.what: check for check in verify(str(folder), str(data)).checks}
    assert {name for name, check in checks.items() if check.holds} == {
        *("compression.json", "files", "README.md", "report.json", "size on disk", "quantized layers vs bf16"),
        *("rows", "accuracy", "macro_f1", "nll", "num_examples", "sparsity"),
    }
    assert [name for name, check in checks.items() if check.holds is None] == ["dense, compressed without training"]
    code, said, _ = call("verify", folder, "--data", data, "--no-measure")
    assert code == 0 and "every claim that was checked holds" in said and "accuracy" not in said


@pytest.mark.parametrize("kind", script.MUTATIONS)
def test_a_change_is_found(kind, copied, call):
    what = script.MUTATIONS[kind](*copied, random.Random(1))
    assert script.found(*copied), what
    code, said, _ = call("verify", copied[0], "--data", copied[1])
    assert code == 1 and "DOES NOT HOLD" in said


def test_numbers_that_agree_with_one_another_and_not_with_the_model_are_found(copied):
    folder, data = copied
    manifest = Manifest.read(folder)
    facts = json.loads(json.dumps(manifest.facts))
    facts["report"]["rows"][-1]["metrics"]["accuracy"] = 2.0
    report = json.loads((folder / "report.json").read_text())
    report["rows"][-1]["metrics"]["accuracy"] = 2.0
    (folder / "report.json").write_text(json.dumps(report))
    facts["tolerance"] = tolerances(facts["report"]["rows"][-1]["metrics"], facts["data"]["num_rows"])
    for name in ("README.md", "compression.json"):
        (folder / name).unlink()
    facts["files"] = companion_hashes(folder)
    Manifest(
        **{key: getattr(manifest, key) for key in ("kind", "name", "recipe", "created", "versions")}, facts=facts
    ).write(folder)
    card = render_card(Manifest.read(folder), findings(Report.from_plain(facts["report"])))
    (folder / "README.md").write_text(card)
    assert wrong(folder, data, measure=False) == {}
    assert list(wrong(folder, data)) == ["accuracy"]


def test_what_owners_add_to_a_card_is_no_change(copied):
    folder, data = copied
    text = (folder / "README.md").read_text()
    text = text.replace("---\nlibrary_name", "---\nlicense: mit\nlanguage: en\nlibrary_name", 1)
    (folder / "README.md").write_text(text.replace("\n## Use\n", "\nMy own words.\n\n## Use\n"))
    assert wrong(folder, data, measure=False) == {}


def test_what_was_pushed_is_verified_and_measured_by_its_name(published, local_hub, call, tmp_path, monkeypatch):
    folder, data = published
    monkeypatch.chdir(tmp_path)
    assert call("push", folder, "me/model")[0] == 0
    code, said, complaints = call("verify", "me/model", "--data", data)
    assert (code, complaints) == (0, []) and "me/model: every claim that was checked holds (1 not checked)" in said
    task = "task={name: sequence_classification, length: 32}"
    code, _, complaints = call("evaluate", "me/model", "--task", "x", "--data", data, "--set", task, "--set", "seed=42")
    assert (code, complaints) == (0, [])
    measured = json.loads((tmp_path / "model-evaluation" / "report.json").read_text())
    (row,) = measured["rows"]
    ours = Manifest.read(folder).fact("report")["rows"][-1]
    assert row["name"] == "me/model" and row["metrics"] == pytest.approx(ours["metrics"])
    assert (row["file_bytes"], row["quantized_ratio"]) == (ours["file_bytes"], ours["quantized_ratio"])
    assert row["intervals"]["accuracy"] == ours["intervals"]["accuracy"]
    card = local_hub.files("me/model")["README.md"].decode()
    local_hub.commit("me/model", {"README.md": card.replace("Test accuracy: 0", "Test accuracy: 1").encode()})
    code, said, _ = call("verify", "me/model", "--no-measure")
    assert code == 1 and "DOES NOT HOLD README.md: does not say" in said


def test_weights_that_nobody_named_and_files_that_are_gone_are_found(copied):
    folder, data = copied
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    (folder / "tokenizer.json").unlink()
    found = wrong(folder, data, measure=False)
    assert found["model-00001-of-00002.safetensors"].startswith("weights that the manifest does not know")
    assert found["tokenizer.json"] == "is not there"


def test_rows_that_are_not_to_be_had_are_said_and_no_refusal(published, tmp_path, monkeypatch):
    folder, _ = published
    monkeypatch.chdir(tmp_path)
    found = {check.what: check for check in verify(str(folder)).checks}
    assert found["rows"].holds is None and "--data" in found["rows"].says


def test_rows_that_the_user_names_and_that_are_not_there_are_refused(published, tmp_path, call):
    code, out, (complaint,) = call("verify", published[0], "--data", tmp_path / "typo.jsonl")
    assert (code, out) == (2, "") and complaint == f"--data: there is no file or folder {tmp_path / 'typo.jsonl'}"


def test_an_adapter_gets_its_card_when_it_is_pushed(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    Manifest(kind="extract-adapter", name="adapter", recipe={}).write(tmp_path)
    found = {check.what: check.holds for check in verify(str(tmp_path)).checks}
    assert found == {"compression.json": True, "files": True, "README.md": None, "metrics": None}


def test_a_checkpoint_claims_nothing(tmp_path):
    Manifest(kind="checkpoint", recipe={}).write(tmp_path)
    with pytest.raises(CompressionError, match="is a checkpoint of a training, which claims nothing"):
        verify(str(tmp_path))


def test_a_file_that_would_lie_elsewhere_is_not_read(copied):
    folder, data = copied
    (folder.parent / "outside").write_text("x")
    manifest = json.loads((folder / "compression.json").read_text())
    manifest["files"] |= {"../outside": "0", str(folder.parent / "outside"): "0"}
    (folder / "compression.json").write_text(json.dumps(manifest, indent=2) + "\n")
    found = wrong(folder, data, measure=False)
    for name in ("../outside", str(folder.parent / "outside")):
        assert found[name] == "is not looked at: it would lie elsewhere"


def test_numbers_that_are_none_hold_only_as_what_they_are():
    manifest = Manifest(kind="train", recipe={}, facts={"tolerance": {"a": math.inf, "b": math.nan, "c": 0.1}})
    said = {"a": math.inf, "b": math.nan, "c": 1.0}
    for found, holds in (
        ({"a": 5.0, "b": 5.0, "c": 1.2}, [False, False, False]),
        ({"a": math.inf, "b": math.nan, "c": 1.05}, [True, True, True]),
        ({"a": math.nan, "b": math.inf}, [False, False, False]),
    ):
        assert [check.holds for check in _compare(manifest, {"metrics": said}, found)] == holds


def test_a_folder_of_another_program_is_refused_and_an_older_one_read(tmp_path):
    with pytest.raises(CompressionError, match=r"holds no compression\.json"):
        verify(str(tmp_path))
    cards = Path(__file__).parent / "of_an_older_version"
    found = {check.what: check.holds for check in verify(str(cards)).checks}
    assert found == {"compression.json": True, "files": None, "README.md": True, "metrics": None}
