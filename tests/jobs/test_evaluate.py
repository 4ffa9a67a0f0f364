"""Finished models, measured by recipe and by command line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from hf_compress import CausalLM, CompressionError, SequenceClassification, evaluate_model
from hf_compress._problems import RecipeError
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.evaluation.sliding_window import SlidingWindow, slide
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.sections import Data
from tests.command_line import tree
from tests.evaluation.pages import Page
from tests.small import text_rows, write_jsonl
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """Here pictures are drawn, because they are looked for."""


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
    text = (folder / "a-evaluation" / "report.md").read_text()
    assert text.startswith("# a\n\n| metric") and "![accuracy against size](report.png)" in text
    assert tree(folder / "a-evaluation") == ["report.html", "report.json", "report.md", "report.png"]
    page = Page((folder / "a-evaluation" / "report.html").read_text())
    assert page.fetched == [] and page.tags.count("svg") == 2  # quality against size, layers
    shown = [one["input"] for one in report["examples"]]
    assert shown == [row["text"] for row in rows[:5]] and shown[0] in page.said
    assert row["answers"] == [("cold", "warm")[label] for label in predicted[:5]]
    weights = load_file(folder / "a" / "model.safetensors")
    zeros = {layer["name"]: layer["sparsity"] for layer in report["layers"]}
    for name in ("bert.embeddings.word_embeddings", "classifier"):
        assert zeros[name] == pytest.approx((weights[f"{name}.weight"] == 0).float().mean().item())
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
    for name in ("cut", "program"):
        shutil.copytree(folder / "a", folder / name)
    weights = folder / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    (folder / "program" / "model.safetensors").unlink()
    for name in ("program/export.json", "program/model.onnx", "adapter/adapter_config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    before = tree(folder)
    wrong = {
        "empty": ["model: empty cannot be loaded"],
        "./nowhere": ["model: there is no folder './nowhere'"],
        "writer": ["tokenizer: the folder writer holds no tokenizer"],
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
        ("seed=-1",): "seed=-1 must lie between 0 and 2**32 - 1",
        ("model=adapter",): "model: adapter cannot be loaded: it holds an adapter and no model; merge it into its base",
        ("model=cut",): "model: cut cannot be loaded: cut/model.safetensors is truncated",
        ("model=program",): "model: program holds no exported program: export.json cannot be read",
        ("model=''",): "model: is empty; name a folder, or a Hub id",
        ("examples=-1",): "examples=-1 must be 0 or more",
        ("data.streaming=true",): "data.streaming: a model is measured on counted rows",
    }.items():
        sets = [part for change in changes for part in ("--set", change)]
        code, _, complaints = call("evaluate", "a", *OPTIONS, *sets, "--check")
        assert code == 2 and [line for line in complaints if line.startswith(expected)], (changes, complaints)
    code, out, _ = call("evaluate", "a", *OPTIONS, "--check")
    assert code == 0 and "no mistakes found (job evaluate" in out
    assert tree(folder) == before


def test_a_model_in_bin_files_is_a_baseline_too_and_any_name_stands_in_the_table(folder, call):
    shutil.copytree(folder / "a", folder / "x|y")
    torch.save(BertForSequenceClassification.from_pretrained(folder / "a").state_dict(), folder / "a" / "pytorch_model.bin")
    (folder / "a" / "model.safetensors").unlink()
    code, out, complaints = call("evaluate", "x|y", "--against", "a", *OPTIONS, "--set", "split=all", "--out", "out")
    assert (code, complaints) == (0, [])
    rows = json.loads((folder / "out" / "report.json").read_text())["rows"]
    assert rows[0]["file_bytes"] == (folder / "a" / "pytorch_model.bin").stat().st_size
    assert r"| x\|y " in out and len({line.count("|") - line.count(r"\|") for line in out.splitlines()[:6]}) == 1


def test_one_row_is_measured_and_says_why_it_has_no_interval(folder, call, monkeypatch):
    write_jsonl(folder / "one.jsonl", text_rows()[:1])
    classes = "task={name: sequence_classification, label: name, length: 16, classes: [cold, warm]}"
    sets = [part for key in ("data.path=../one.jsonl", classes, "split=all") for part in ("--set", key)]
    monkeypatch.chdir(folder / "a")
    code, out, complaints = call("evaluate", ".", *OPTIONS, *sets)
    assert (code, complaints) == (0, [])
    assert "One row makes no interval (predictions).\n" in out and "Without an interval" not in out
    assert (folder / "a" / "a-evaluation" / "report.md").is_file()  # named by the folder that "." is


def test_a_model_of_no_numbers_is_anomalous_and_said_so(folder, call):
    model = BertForSequenceClassification.from_pretrained(folder / "b")
    model.classifier.weight.data.fill_(float("nan"))
    model.save_pretrained(folder / "b")
    code, out, _ = call("evaluate", "b", "--against", "a", *OPTIONS, "--set", "split=all", "--out", "out")
    assert code == 0 and "Verdict: anomalous: nll of 'b' is nan" in out
    assert "Without an interval: nll, which is NaN for a model." in out


def test_a_head_that_learned_another_task_is_refused(folder):
    task = SequenceClassification(label="label", problem="regression", length=16)
    with pytest.raises(RecipeError, match="model: a classifies 2 labels, and regression predicts one number"):
        ModelEvaluation(model="a", task=task, data=Data(path="rows.jsonl")).open()


def test_two_models_are_compared_row_by_row(folder, call):
    code, out, complaints = call("evaluate", "b", "--against", "a", *OPTIONS, "--set", "split=all", "--out", "out")
    assert (code, complaints) == (0, [])
    plain = json.loads((folder / "out" / "report.json").read_text())
    report = EvaluationReport.from_plain(plain)
    assert [row.name for row in report.rows] == ["a", "b"] and {**report.to_plain(), "verdict": plain["verdict"]} == plain
    rows = text_rows()
    first, second = (stock(folder / name, rows) for name in "ab")
    right = [row["label"] for row in rows]
    known = report.uncertainty["accuracy"]
    assert known.difference == pytest.approx(accuracy_score(right, second) - accuracy_score(right, first))
    better = sum(b == truth != a for a, b, truth in zip(first, second, right, strict=True))
    worse = sum(a == truth != b for a, b, truth in zip(first, second, right, strict=True))
    test = known.sign_test
    assert (test.better, test.worse, test.equal) == (better, worse, len(rows) - better - worse)
    assert test.p_value == pytest.approx(binomtest(better, better + worse).pvalue) and better + worse > 0
    assert report.closeness["agreement"] == pytest.approx(accuracy_score(first, second))
    assert report.closeness["kl_divergence"] > 0
    for key in report.directions:
        known = report.uncertainty[key]
        assert known.rows == len(rows) and known.difference_interval[0] <= known.difference <= known.difference_interval[1]
    assert report.measured["num_rows"] == len(rows)
    assert report.rows[1].intervals["accuracy"] == report.uncertainty["accuracy"].intervals[1]
    assert f"Verdict: {plain['verdict']['kind']}: {plain['verdict']['reason']}" in out
    assert f"{better} / {worse}" in out and "95% intervals, the percentiles of 1,000 resamples of 60 predictions" in out


def test_costs_stand_beside_the_quality_and_nothing_is_shown_where_nobody_wants_it(folder, call):
    cost = "cost={batch: [2, 1], length: [8], rounds: 6, warmup: 1, memory: false}"
    code, out, _ = call("evaluate", "b", "--against", "a", *OPTIONS, "--set", cost, "--set", "examples=0", "--out", "out")
    plain = json.loads((folder / "out" / "report.json").read_text())
    assert code == 0 and "each interval of speed holds by itself in 95 of 100 cases: of 2 comparisons" in out
    medians = {(one["model"], one["batch"]): 1000 * one["median_s"] for one in plain["cost"]["timings"]}
    assert [row["latency_ms"] for row in plain["rows"]] == [medians["a", 1], medians["b", 1]]
    page = Page((folder / "out" / "report.html").read_text())
    assert page.tags.count("svg") == 3 and page.tags.count("table") == 3 and "Quality against latency" in page.said
    assert plain["examples"] == [] and "Examples" not in page.said


def test_several_processes_are_refused_by_one_sentence(folder, call, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = tree(folder)
    for command in (("evaluate", "a", *OPTIONS), ("cost", "a"), ("verify", "a")):
        code, out, complaints = call(*command)
        assert (code, out) == (2, "") and len(complaints) == 1
        assert complaints[0].startswith(f"{command[0]} is the work of one process, and 2 were started; start it by itself")
    assert tree(folder) == before
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr("hf_compress._distributed.membership", lambda: (0, 2))
    asked = ModelEvaluation(model="a", task=SequenceClassification(label="name"), data=Data(path="rows.jsonl"))
    with pytest.raises(CompressionError, match="evaluate_model is the work of one process, and 2 stand in a process group"):
        evaluate_model(asked)


def test_a_baseline_that_cannot_be_compared_is_refused(folder, call):
    tiny_bert(num_labels=2, id2label={0: "warm", 1: "cold"}, label2id={"warm": 0, "cold": 1}).save_pretrained("turned")
    tiny_tokenizer().save_pretrained("turned")
    reader = BertForSequenceClassification.from_pretrained("a")
    reader.resize_token_embeddings(65, mean_resizing=False)
    reader.save_pretrained("reader")
    other = tiny_tokenizer()
    other.add_tokens(["zebra"])
    other.save_pretrained("reader")
    tiny_bert(num_labels=3).save_pretrained("three")
    tiny_tokenizer().save_pretrained("three")
    tiny_bert(num_labels=2, cls=BertForTokenClassification).save_pretrained("tagger")
    tiny_tokenizer().save_pretrained("tagger")
    before = tree(folder)
    for against, expected in {
        "./nowhere": ["against: there is no folder './nowhere'"],
        "three": ["against: three classifies 3 labels (LABEL_0, LABEL_1, LABEL_2) and the data has 2"],
        "turned": ["against: turned numbers the labels otherwise (warm, cold) than a (cold, warm)"],
        "reader": ["against: reader has another vocabulary than a (60 and 59 entries, of which 0 differ)"],
        "tagger": ["against: tagger is a BertForTokenClassification, whose head has learned another task"],
    }.items():
        code, out, complaints = call("evaluate", "a", *OPTIONS, "--against", against, "--set", "bootstrap.level=0.9")
        assert (code, out) == (2, "") and len(complaints) == len(expected), complaints
        assert all(line.startswith(start) for line, start in zip(complaints, expected, strict=True)), complaints
    assert tree(folder) == before


@pytest.fixture
def writer(folder):
    """A language model, and another that reads no more than 64 tokens."""
    tiny_llama().save_pretrained("writer")
    tiny_llama(1).save_pretrained("other")
    for name in ("writer", "other"):
        tiny_tokenizer().save_pretrained(name)
    return folder


LANGUAGE = ("--task", "causal_lm", "--data", "rows.jsonl", "--set", "task.length=16", "--set", "data.max_eval=6")


def test_documents_are_measured_whole(writer, call):
    code, out, complaints = call(
        "evaluate", "writer", "--against", "other", *LANGUAGE, "--set", "window={length: 32, stride: 16}", "--out", "out"
    )
    assert (code, complaints) == (0, [])
    report = EvaluationReport.from_plain(json.loads((writer / "out" / "report.json").read_text()))
    asked = {"model": "writer", "task": CausalLM(length=16), "data": Data(path="rows.jsonl", max_eval=6)}
    rows = ModelEvaluation(**asked).open()["measured"].raw["test"]["text"][:]
    slid = slide(tiny_llama().eval(), tiny_tokenizer(), rows, SlidingWindow(length=32, stride=16), 4)
    for key, value in slid.metrics().items():
        assert report.rows[1].metrics[key] == pytest.approx(value, rel=1e-6)
        assert report.directions[key] is False and report.uncertainty[key].rows == len(rows)
        assert report.uncertainty[key].unit == "documents" and key in out
    letters = sum(map(len, rows))
    assert f"{letters:,} tokens, {letters:,} bytes of {len(rows)} documents, each behind '<s>'" in report.setting["window"]


def test_windows_that_do_not_fit_are_refused(writer, call):
    for sets, expected in {
        ("window.length=65",): ["window.length: 65 tokens are more than the 64 positions of writer"],
        ("window={length: 8, stride: 8}",): ["window: stride=8 must lie between 1 and length - 1 = 7"],
        ("task={name: chat}", "window={}"): [
            "window: it slides over running text, and chat has none; leave it out, or name causal_lm"
        ],
    }.items():
        options = [part for one in sets for part in ("--set", one)]
        code, _, complaints = call("evaluate", "writer", *LANGUAGE, *options, "--check")
        assert code == 2 and [line for line in complaints if line.startswith(expected[0])], (sets, complaints)
