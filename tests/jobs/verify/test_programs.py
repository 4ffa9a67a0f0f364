"""A result that another runtime loads: published, verified and measured as any other."""

import json

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.exported import load_exported, missing_packages
from hf_compress.checkpoints.manifest import WEIGHTS, Manifest
from tests.small import DROP, pretrained, recipe, text_rows, write_jsonl, write_model
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer

pytestmark = [
    pytest.mark.skipif(bool(missing_packages("onnx")), reason=missing_packages("onnx")),
    pytest.mark.slow,  # each exports twice
]
ONNX = {
    "quantization": DROP,
    "distillation": DROP,
    "training.max_steps": 1,
    "export": {"format": "onnx", "dtype": "float32"},
    "evaluation": {"untrained": False},
}


def trained(place, model, call, task, tokenizer=None):
    place.mkdir()
    write_jsonl(place / "train.jsonl", text_rows())
    changes = {**ONNX, "task": task}
    base = write_model(place / "base", model)
    if tokenizer is not None:
        tokenizer.save_pretrained(base)
    (place / "recipe.yaml").write_text(write_yaml(recipe(place, pretrained(base, changes))))
    assert call("run", place / "recipe.yaml")[::2] == (0, [])
    return place / "out" / "compressed"


def test_an_exported_classifier_is_pushed_verified_and_measured_by_its_name(tmp_path, local_hub, call, monkeypatch):
    names = {"id2label": {0: "cold", 1: "warm"}, "label2id": {"cold": 0, "warm": 1}}
    task = {"name": "sequence_classification", "label": "name", "length": 16}
    folder = trained(tmp_path / "run", tiny_bert(num_labels=2, **names), call, task)
    ours = Manifest.read(folder).fact("report")["rows"][-1]
    assert set(Manifest.read(folder).fact(WEIGHTS)) == {file.name for file in folder.glob("model.onnx*")}
    assert call("push", folder, "me/graph")[::2] == (0, [])
    assert "model.onnx" in local_hub.files("me/graph")
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "run" / "train.jsonl"
    for name in (folder, "me/graph"):
        code, said, complaints = call("verify", name, "--data", data)
        assert (code, complaints) == (0, []) and "holds         accuracy: " in said and "holds         size on disk" in said
        options = ("--task", "x", "--data", data, "--set", f"task={json.dumps(task)}", "--set", "seed=42")
        code, _, complaints = call("evaluate", name, *options, "--out", tmp_path / f"of-{folder == name}")
        assert (code, complaints) == (0, [])
        (row,) = json.loads((tmp_path / f"of-{folder == name}" / "report.json").read_text())["rows"]
        assert row["metrics"] == pytest.approx(ours["metrics"]) and row["file_bytes"] == ours["file_bytes"]
        assert set(row["answers"]) <= {"cold", "warm"} and len(row["answers"]) == 3
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    code, said, _ = call("verify", folder, "--data", data)
    assert code == 1 and "DOES NOT HOLD model.onnx: its SHA-256 is not" in said
    code, _, complaints = call("push", folder, "me/graph")
    assert code == 2 and "the weights disagree: model.onnx has changed since" in complaints[0]


def test_an_exported_language_model_is_measured_and_shows_nothing_it_cannot_write(tmp_path, call):
    folder = trained(tmp_path / "run", tiny_llama(), call, {"name": "causal_lm", "length": 16})
    report = json.loads((folder / "report.json").read_text())
    assert report["rows"][-1]["answers"] == [] and "perplexity" in report["rows"][-1]["intervals"]
    assert call("verify", folder, "--data", tmp_path / "run" / "train.jsonl")[::2] == (0, [])


def test_a_program_for_pairs_of_texts_takes_the_types_of_their_tokens(tmp_path, call):
    task = {"name": "sequence_classification", "label": "name", "text_pair": "text", "length": 16}
    names = {"id2label": {0: "cold", 1: "warm"}, "label2id": {"cold": 0, "warm": 1}}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    backend = tiny_tokenizer().backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", model_input_names=inputs)
    folder = trained(tmp_path / "run", tiny_bert(num_labels=2, **names), call, task, tokenizer)
    inputs = AutoTokenizer.from_pretrained(folder)("ab", "cde", return_tensors="pt")
    assert inputs["token_type_ids"].tolist() == [[0, 0, 1, 1, 1]]
    graph = load_exported(folder)
    as_one = graph(**{**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])})["logits"]
    assert not torch.equal(graph(**inputs)["logits"], as_one)  # they are no input that makes no difference
