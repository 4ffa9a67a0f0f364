"""One graph of all members beside them: refused early, or run by its own runtime on the recipe's rows."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_compress import CompressionError, ParallelEnsemble, Recipe
from hf_compress.checkpoints.exported import load_exported, missing_packages
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.ensembling.modelling.in_graph import BRANCHES
from hf_compress.evaluation.compare import read_report
from hf_compress.jobs.ensemble.graph import _compare
from hf_compress.jobs.verify.run import verify

FORMATS = [
    pytest.param(name, marks=pytest.mark.skipif(bool(missing_packages(name)), reason=missing_packages(name)))
    for name in ("onnx", "openvino")
]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fusion", ["parallel", "cascade", "stacking"])
def test_the_graph_answers_test_rows_as_the_folder_does_and_every_paper_says_so(fusion, form, recipe, made):
    chosen = {"name": "cascade", "thresholds": [0.7]} if fusion == "cascade" else {"name": fusion}
    done = Recipe.from_plain(recipe(fusion=chosen, latency=None, export={"format": form})).run()
    graph = load_exported(done.folder / f"graph-{form}")
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(done.folder),
        AutoTokenizer.from_pretrained(done.folder),
    )
    rows = [json.loads(line) for line in (made / "data" / "test.jsonl").read_text().splitlines()]
    worst = 0.0
    for row in rows:
        inputs = tokenizer(row["text"], return_tensors="pt")
        with torch.no_grad():
            worst = max(worst, float((graph(**inputs)["logits"] - model(**inputs).logits).abs().max()))
    assert worst < 1e-4
    facts = Manifest.read(done.folder).fact("graph")
    assert facts["rows"] == 48 and facts["difference"] < 1e-4 and facts["folder"] == f"graph-{form}"
    assert facts["asked"] == (BRANCHES["rows"] if fusion == "cascade" else "")
    said = "answers 48 test rows as the ensemble does, within "
    card = (done.folder / "README.md").read_text()
    assert said in done.summary() and any(said in note for note in read_report(done.folder).notes)
    assert f'subfolder="graph-{form}"' in card and (not facts["asked"] or facts["asked"] in card)
    weights = sum(file.stat().st_size for file in done.folder.rglob("*.safetensors"))
    assert read_report(done.folder).rows[-1].file_bytes == weights  # the graph's bytes are its own
    assert Manifest.read(done.folder).recipe["export"] == {"format": form}
    assert verify(str(done.folder)).holds is not False


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_packages("onnx")), reason=missing_packages("onnx"))
def test_without_data_it_is_compared_on_made_up_batches_and_says_so(recipe):
    done = Recipe.from_plain(recipe(data=None, export={"format": "onnx"})).run()
    assert Manifest.read(done.folder).fact("graph")["rows"] == 0
    assert "two made-up batches" in done.summary() and "two made-up batches" in (done.folder / "README.md").read_text()


@pytest.fixture(scope="module")
def asked(made):
    model = ParallelEnsemble.from_members([str(made / "model-0"), str(made / "model-1")])
    tokenizer = AutoTokenizer.from_pretrained(made / "model-0")
    return model, [dict(tokenizer(texts, return_tensors="pt")) for texts in (["abc", "bca"], ["cab"])]


@pytest.mark.parametrize(("by", "refused"), [(0.0, False), (1e-5, False), (0.01, True), (float("nan"), True)])
def test_a_graph_that_answers_otherwise_on_one_row_is_refused(asked, by, refused, tmp_path):
    model, batches = asked

    def graph(**inputs):
        outputs = model(**inputs)
        if len(outputs.logits) == 1:
            outputs.logits[0, 0] += by
        return outputs

    if refused:
        with pytest.raises(CompressionError, match="for 3 test rows differ from the ensemble's by .*nothing was kept"):
            _compare(SimpleNamespace(), None, model, graph, batches, tmp_path)
    else:
        found = _compare(SimpleNamespace(), None, model, graph, batches, tmp_path)
        assert (found["rows"], found["close"]) == (3, 0) and found["difference"] == pytest.approx(by, rel=0.1)


def refusal(plain):
    with pytest.raises(CompressionError) as raised:
        Recipe.from_plain(plain).open()
    return str(raised.value)


def test_what_is_no_graph_is_refused(recipe):
    assert refusal(recipe(export={"format": "dense"})) == "export.format: unknown value 'dense' (known: onnx, openvino)"


def test_a_missing_package_is_named_with_its_extra(recipe, monkeypatch):
    monkeypatch.setattr("hf_compress.export.exported_format.missing_packages", lambda backend: f"{backend} needs much")
    assert "export.format: openvino needs much" in refusal(recipe(export={"format": "openvino"}))


def test_an_ensemble_that_writes_has_no_graph(recipe, monkeypatch):
    monkeypatch.setattr("hf_compress.export.exported_format.missing_packages", lambda backend: "")
    said = refusal(recipe(task={"name": "causal_lm"}, export={"format": "onnx"}))
    assert (
        "export.format: a graph is one forward pass without a cache, so it writes no text, which causal_lm is for" in said
    )


def test_members_in_16_bits_are_refused_by_their_names(recipe, made, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_compress.export.exported_format.missing_packages", lambda backend: "")
    AutoModelForSequenceClassification.from_pretrained(made / "model-1").bfloat16().save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(made / "model-1").save_pretrained(tmp_path / "half")
    members = [{"model": str(made / "model-0")}, {"model": str(tmp_path / "half")}]
    said = refusal(recipe(members=members, export={"format": "onnx"}))
    assert said.startswith("members.1.model: 'half' is stored in bfloat16") and said.endswith("or leave export.format out")
