"""Finished models, measured by recipe and by command line."""

import json

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_compress import SequenceClassification, evaluate_model
from hf_compress._problems import RecipeError
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.sections import Data
from tests.command_line import tree
from tests.small import text_rows, write_jsonl
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A classifier `a`, and rows with one of its labels each."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", text_rows())
    for seed, name in enumerate("ab"):
        names = {"id2label": {0: "cold", 1: "warm"}, "label2id": {"cold": 0, "warm": 1}}
        tiny_bert(seed, num_labels=2, **names).save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    return tmp_path


def stock(folder, rows):
    """Predicted classes by transformers alone, row by row."""
    model, tokenizer = (cls.from_pretrained(folder) for cls in (AutoModelForSequenceClassification, AutoTokenizer))
    with torch.no_grad():
        return [
            model(**tokenizer(row["text"], truncation=True, max_length=16, return_tensors="pt")).logits.argmax().item()
            for row in rows
        ]


OPTIONS = (
    "--task",
    "sequence_classification",
    "--data",
    "rows.jsonl",
    "--set",
    "task={name: sequence_classification, label: name, length: 16}",
)


def test_a_classifier_is_measured_as_scikit_learn_measures_it(folder, call):
    code, out, complaints = call("evaluate", "a", *OPTIONS, "--set", "split=all")
    assert (code, complaints) == (0, []) and "accuracy" in out and "a-evaluation" in out
    report = json.loads((folder / "a-evaluation" / "report.json").read_text())
    rows = text_rows()
    predicted, right = stock(folder / "a", rows), [row["label"] for row in rows]
    (row,) = report["rows"]
    assert row["metrics"]["num_examples"] == len(rows)
    assert row["metrics"]["accuracy"] == pytest.approx(accuracy_score(right, predicted))
    assert row["metrics"]["macro_f1"] == pytest.approx(f1_score(right, predicted, average="macro"))
    assert row["file_bytes"] == (folder / "a" / "model.safetensors").stat().st_size
    assert (report["metric"], report["directions"]["nll"], report["recipe"]["split"]) == ("accuracy", False, "all")
    assert (folder / "a-evaluation" / "report.md").read_text().startswith("# a\n\n| metric")
    code, _, complaints = call("evaluate", "a", *OPTIONS)
    assert code == 2 and "output_dir: " in complaints[0] and "a-evaluation" in complaints[0]


def test_a_split_is_that_of_a_training_by_the_same_seed(folder):
    data = Data(path="rows.jsonl", validation_share=0.2)
    asked = {"model": "a", "task": SequenceClassification(label="name", length=16), "data": data, "seed": 3}
    splits = load_splits(data, 3)
    for split in ("test", "train"):
        report = evaluate_model(ModelEvaluation(**asked, split=split))
        predicted = stock(folder / "a", splits[split])
        assert report.rows[0].metrics["num_examples"] == len(splits[split])
        assert report.rows[0].metrics["accuracy"] == pytest.approx(accuracy_score(splits[split]["label"], predicted))
    assert tree(folder) == sorted(tree(folder)) and not (folder / "a-evaluation").exists()


def test_every_mistake_is_said_in_one_go_and_nothing_is_written(folder, call):
    tiny_llama().save_pretrained(folder / "writer")
    (folder / "empty").mkdir()
    write_jsonl(folder / "three.jsonl", [{**row, "name": f"kind {n % 3}"} for n, row in enumerate(text_rows())])
    write_jsonl(folder / "none.jsonl", [])
    before = tree(folder)
    wrong = {
        "empty": ["model: empty cannot be loaded"],
        "./nowhere": ["model: there is no folder './nowhere'"],
        "writer": ["tokenizer: the folder writer holds none"],
    }
    for model, expected in wrong.items():
        code, out, complaints = call(
            "evaluate", model, *OPTIONS, "--set", "data.path=nowhere.jsonl", "--set", "output_dir=a"
        )
        assert (code, out) == (2, "")
        for sentence in ("output_dir: ", "data.path: there is no file or folder nowhere.jsonl", *expected):
            assert [line for line in complaints if line.startswith(sentence)], (sentence, complaints)
    for changes, expected in {
        ("data.path=three.jsonl",): "model: a classifies 2 labels (cold, warm) and the data has 3",
        ("data.path=none.jsonl",): "data.path: ",
        ("task=token_classification",): "task.",
        ("metrics=[bleu]",): "metrics.0: bleu compares texts, and this task predicts classes",
        ("metrics=[f1, f1]",): "metrics: 'f1' is given twice",
        ("batch_size=0",): "batch_size=0 must be 1 or more",
        ("data.streaming=true",): "data.streaming: a model is measured on counted rows",
    }.items():
        sets = [part for change in changes for part in ("--set", change)]
        code, _, complaints = call("evaluate", "a", *OPTIONS, *sets, "--check")
        assert code == 2 and [line for line in complaints if line.startswith(expected)], (changes, complaints)
    code, out, _ = call("evaluate", "a", *OPTIONS, "--check")
    assert code == 0 and "no mistakes found (job evaluate" in out
    assert tree(folder) == before


def test_a_head_that_learned_another_task_is_refused(folder):
    task = SequenceClassification(label="label", problem="regression", length=16)
    with pytest.raises(RecipeError, match="model: a classifies 2 labels, and regression predicts one number"):
        ModelEvaluation(model="a", task=task, data=Data(path="rows.jsonl")).open()
