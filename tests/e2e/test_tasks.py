"""Sequence and image classification from a recipe to a folder that plain transformers loads."""

import json

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from hf_compress import Recipe
from hf_compress.inputs.data import load_splits
from tests.small import DROP, pretrained, recipe, text_rows, write_images, write_jsonl, write_model
from tests.tiny import tiny_bert

ROWS = ["dense", "compressed without training", "ours"]


def run(plain, metric="accuracy"):
    loaded = Recipe.from_plain(plain)
    result = loaded.run()
    report = json.loads((result.folder / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ROWS == [row.name for row in result.report.rows]
    assert report["metric"] == metric and report["greater_is_better"]
    dense, _, ours = report["rows"]
    assert ours["file_bytes"] < dense["file_bytes"] and ours["quantized_ratio"] < 1
    assert ours["sparsity"] == pytest.approx(0.5, abs=1e-3)
    return result.folder, ours["metrics"], load_splits(loaded.data, 42)["test"]


def test_a_text_classifier_gets_a_head_and_the_labels_of_the_data(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", text_rows(80))
    bert = write_model(tmp_path / "bert", tiny_bert().bert)
    changes = {"task.name": "sequence_classification", "task.label": "name", "dense": {"training": {"max_steps": 2}}}
    changes |= {"pruning.ignore": ["classifier"], "quantization.ignore": ["classifier"]}
    folder, metrics, test = run(recipe(tmp_path, {**pretrained(bert), **changes}))

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "cold", 1: "warm"}
    classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
    said = [answer["label"] for answer in classify(test["text"][:], truncation=True, max_length=16)]
    expected = {
        "accuracy": accuracy_score(test["name"][:], said),
        "macro_f1": f1_score(test["name"][:], said, average="macro"),
    }
    assert expected.items() <= metrics.items()
    assert metrics["num_examples"] == len(test)


@pytest.mark.parametrize("problem", ["multi_label", "regression"])
def test_pairs_of_texts_get_labels_that_hold_beside_others_or_a_number(problem, tmp_path):
    rows = text_rows(80)
    for place, row in enumerate(rows):
        row |= {"other": row["text"][:9], "held": [name for name in "abc" if place % (ord(name) - 95)], "score": place / 7}
    write_jsonl(tmp_path / "train.jsonl", rows)
    label, metric, loss = ("held", "micro_f1", "forward_kl") if problem == "multi_label" else ("score", "pearsonr", "mse")
    task = {"name": "sequence_classification", "text_pair": "other", "label": label, "problem": problem, "length": 24}
    changes = {
        "task": task,
        "distillation.losses": [{"weight": 1.0, "loss": loss}],
        "dense": {"training": {"max_steps": 2}},
    }
    changes |= {"pruning.ignore": ["classifier"], "quantization.ignore": ["classifier"]}
    bert = write_model(tmp_path / "bert", tiny_bert().bert)
    folder, metrics, test = run(recipe(tmp_path, {**pretrained(bert), **changes}), metric)

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = AutoTokenizer.from_pretrained(folder)(
        test["text"][:],
        [f"</s>{text}" for text in test["other"]],
        truncation=True,
        max_length=24,
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**encoded).logits
    if problem == "multi_label":
        assert model.config.problem_type == "multi_label_classification"
        assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
        right = [[int(name in held) for name in "abc"] for held in test["held"]]
        assert metrics["micro_f1"] == pytest.approx(f1_score(right, (logits > 0).int(), average="micro"))
    else:
        assert model.config.problem_type == "regression" and model.config.num_labels == 1
        mse = (logits[:, 0] - torch.tensor(test["score"][:])).square().mean().item()
        assert metrics["mse"] == pytest.approx(mse, rel=1e-3)


def test_an_image_classifier_starts_from_fresh_weights(tmp_path):
    vit = {
        "model_type": "vit",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 8,
        "patch_size": 4,
    }
    changes = {"task": "image_classification", "model": {"config": vit}, "tokenizer": DROP}
    changes |= {"data": {"path": str(write_images(tmp_path / "data.parquet", 40)), "validation_share": 0.2}}
    changes |= {"pruning.pattern": "n_m", "pruning.ignore": ["classifier"], "quantization.ignore": ["classifier"]}
    folder, metrics, test = run(recipe(tmp_path, changes))

    model = AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "dark", 1: "light"}
    pixels = AutoImageProcessor.from_pretrained(folder)(test["image"][:], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        said = model(pixel_values=pixels).logits.argmax(-1)
    assert metrics["accuracy"] == pytest.approx((said.numpy() == test["label"][:]).mean())
