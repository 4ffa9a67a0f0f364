"""The scripts that people copy, each run by its command line on a tiny model, to the folder that it leaves."""

import json
import random
import runpy
import sys
from pathlib import Path

import PIL.Image
import pytest
from datasets import Dataset, Features, Image, Value
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertForTokenClassification,
    ViTImageProcessor,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    pipeline,
)

from hf_compress import CausalLM
from hf_compress._yaml import write_yaml
from hf_compress.inputs.spelling import character_tokenizer
from hf_compress.tasks.chats import PLAIN_TEMPLATE
from tests.distributed.launch import accelerate, forked
from tests.small import WORDS, recipe, text_rows, write_jsonl, write_model
from tests.sounds import sine, wav
from tests.tiny import tiny_bert, tiny_hearer, tiny_listener, tiny_reader, tiny_t5, tiny_tokenizer, tiny_vit

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRAINING = "--max_steps 6 --per_device_train_batch_size 4 --learning_rate 1e-3 --eval_strategy steps --eval_steps 5"
TEST = 8
QUIET = "--use_cpu --report_to none --save_strategy no --disable_tqdm true"


@pytest.fixture
def start(monkeypatch, capsys):
    """start(script, ...) -> what it printed and what it complained of; a SystemExit is passed on."""

    def call(script, *arguments):
        monkeypatch.syspath_prepend(str(SCRIPTS))
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return capsys.readouterr().out

    return call


@pytest.fixture
def compressed(start, tmp_path):
    """compressed(script, model, rows, ...) -> the result's folder, its report, and what was printed."""

    def call(script, model, rows, *changes, features=None):
        data = write_splits(tmp_path / "data", rows, features)
        common = [*TRAINING.split(), *QUIET.split(), "--group_size", "16", "--output_dir", tmp_path / "out"]
        said = start(script, "--model", model, "--data", data, *common, *changes)
        folder = tmp_path / "out" / "compressed"
        report = json.loads((folder / "report.json").read_text())
        assert [row["name"] for row in report["rows"]] == ["dense", "compressed without training", "ours"]
        dense, _, ours = report["rows"]
        assert dense["sparsity"] is None and ours["sparsity"] == pytest.approx(0.5, abs=1e-3)
        assert ours["file_bytes"] < dense["file_bytes"] and ours["quantized_ratio"] < 1
        assert (folder / "report.md").read_text() in said
        return folder, report, said

    return call


def write_splits(folder, rows, features=None):
    """The first rows are those of the test split."""
    folder.mkdir()
    for name, part in (("test", rows[:TEST]), ("validation", rows[TEST : 2 * TEST]), ("train", rows[2 * TEST :])):
        Dataset.from_list(part, features=features).to_parquet(folder / f"{name}.parquet")
    return folder


def sentence(generator, length):
    return " ".join(generator.choices(WORDS, k=length))


def test_a_language_model(compressed, tmp_path):
    folder, report, _ = compressed("train_causal_lm.py", write_model(tmp_path / "llama"), text_rows(), "--length", "32")
    assert report["metric"] == "perplexity" and {"accuracy", "nll"} <= report["rows"][0]["metrics"].keys()
    assert AutoModelForCausalLM.from_pretrained(folder).config.quantization_config


def test_a_model_that_chats_says_what_it_answers(compressed, tmp_path):
    generator = random.Random(0)
    rows = [{"question": sentence(generator, 2), "answer": sentence(generator, 3)} for _ in range(36)]
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = PLAIN_TEMPLATE
    tokenizer.save_pretrained(tmp_path / "llama")
    model = write_model(tmp_path / "llama", tokenizer=False)
    columns = ("--prompt", "question", "--completion", "answer", "--length", "60", "--max_new_tokens", "4")
    folder, report, said = compressed("train_chat.py", model, rows, *columns)
    assert report["metric"] == "perplexity" and "step 5: " in said
    question = [{"role": "user", "content": rows[0]["question"]}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    made = AutoModelForCausalLM.from_pretrained(folder).generate(**ids, max_new_tokens=4, do_sample=False)
    assert said.endswith(tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True) + "\n")


def test_a_classifier_of_texts_gets_a_head_first(compressed, start, tmp_path, capsys):
    bert = write_model(tmp_path / "bert", tiny_bert().bert)
    rows = [{"text": row["text"], "label": row["name"]} for row in text_rows()]
    data = write_splits(tmp_path / "rows", rows)
    common = ("--data", data, *TRAINING.split(), *QUIET.split(), "--length", "32", "--output_dir", tmp_path / "dense")
    with pytest.raises(SystemExit) as stop:
        start("train_sequence_classification.py", "--model", bert, *common)
    assert stop.value.code == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert f"model: {bert} has no classifier.bias for this task" in complaint
    assert not (tmp_path / "dense").exists()

    off = ("--pruning", "0", "--scheme", "none", "--no_distillation")
    start("train_sequence_classification.py", "--model", bert, *common, *off)
    dense = tmp_path / "dense" / "compressed"
    with pytest.raises(SystemExit) as stop:
        start("train_sequence_classification.py", "--model", bert, *common, *off)
    assert stop.value.code == 2 and f"{dense} is there already" in capsys.readouterr().err
    folder, report, _ = compressed("train_sequence_classification.py", dense, rows, "--length", "32")
    assert report["metric"] == "accuracy" and "macro_f1" in report["rows"][-1]["metrics"]
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.id2label == {0: "cold", 1: "warm"}


def test_the_ids_of_a_trained_classifier_stay(compressed, tmp_path):
    """The data has the names in another order."""
    bert = tiny_bert(num_labels=2)
    bert.config.id2label = {0: "warm", 1: "cold"}
    bert.config.label2id = {"warm": 0, "cold": 1}
    model = write_model(tmp_path / "bert", bert)
    rows = [{"text": row["text"], "label": row["name"]} for row in text_rows()]
    changes = ("--length", "32", "--learning_rate", "0")
    _, report, _ = compressed("train_sequence_classification.py", model, rows, *changes)
    said = pipeline("text-classification", str(model))([row["text"] for row in rows[:TEST]], truncation=True, max_length=32)
    right = [answer["label"] == row["label"] for answer, row in zip(said, rows[:TEST], strict=True)]
    assert report["rows"][0]["metrics"]["accuracy"] == pytest.approx(sum(right) / len(right))


def test_a_finder_of_names(compressed, tmp_path):
    bert = tiny_bert(cls=BertForTokenClassification, num_labels=3)
    model = write_model(tmp_path / "bert", bert)
    tags = {"cat": "B-animal", "dog": "B-animal", "tree": "I-animal"}
    rows = [{"tokens": words, "ner_tags": [tags.get(word, "O") for word in words]} for words in _sentences(48)]
    _, report, _ = compressed("train_token_classification.py", model, rows, "--length", "32")
    assert report["metric"] == "overall_f1" and report["greater_is_better"]


def _sentences(number):
    generator = random.Random(0)
    return [sentence(generator, 6).split() for _ in range(number)]


def test_a_finder_of_answers(compressed, tmp_path):
    rows = [
        {
            "question": f"what {words[1]}",
            "context": " ".join(words),
            "answers": {"text": [words[1]], "answer_start": [len(words[0]) + 1]},
        }
        for words in _sentences(36)
    ]
    model = write_model(tmp_path / "bert", tiny_reader())
    _, report, _ = compressed("train_question_answering.py", model, rows, "--length", "32", "--stride", "4")
    assert report["metric"] == "f1" and "exact_match" in report["rows"][-1]["metrics"]


def test_a_translator(compressed, tmp_path):
    generator = random.Random(0)
    rows = [{"en": sentence(generator, 3), "de": sentence(generator, 2)} for _ in range(36)]
    options = ("--source", "en", "--target", "de", "--metric", "chrf", "--generation_max_length", "8")
    _, report, _ = compressed("train_seq2seq.py", write_model(tmp_path / "t5", tiny_t5()), rows, *options)
    assert report["metric"] == "chrf" and report["greater_is_better"]


BEST = "--patience 1 --load_best_model_at_end true --metric_for_best_model accuracy --save_strategy steps --save_steps 5"


def test_a_classifier_of_images_ends_with_its_best(compressed, tmp_path):
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "vit")
    model = write_model(tmp_path / "vit", tiny_vit(num_labels=3), tokenizer=False)
    rows = [{"image": PIL.Image.new("RGB", (10, 8), (85 * (n % 3), 0, 0)), "label": n % 3} for n in range(36)]
    features = Features({"image": Image(), "label": Value("int64")})
    _, report, _ = compressed("train_image_classification.py", model, rows, *BEST.split(), features=features)
    assert report["metric"] == "accuracy"
    state = json.loads((tmp_path / "out" / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["best_global_step"] == 5 and "EarlyStoppingCallback" in state["stateful_callbacks"]


NARROW = ("--ignore", "re:.*feature_projection.*")
"""Inputs that no group of 16 fits into."""


def _sounds(seconds):
    """Of three pitches, as the bytes of files."""
    content = [wav(sine(8000, 300.0 * (1 + n), seconds), 8000) for n in range(3)]
    return [{"audio": {"bytes": content[n % 3], "path": f"{n}.wav"}} for n in range(24)]


def test_a_classifier_of_sounds(compressed, tmp_path):
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "hearer")
    model = write_model(tmp_path / "hearer", tiny_hearer(num_labels=3), tokenizer=False)
    rows = [{**row, "label": ("high", "low", "middle")[n % 3]} for n, row in enumerate(_sounds(0.3))]
    _, report, _ = compressed("train_audio_classification.py", model, rows, "--max_seconds", "0.2", *NARROW)
    assert report["metric"] == "accuracy"


def test_a_writer_of_speech(compressed, tmp_path):
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    processor = Wav2Vec2Processor(feature_extractor=extractor, tokenizer=character_tokenizer(["no so"]))
    processor.save_pretrained(tmp_path / "listener")
    model = tiny_listener(vocab_size=len(processor.tokenizer), pad_token_id=processor.tokenizer.pad_token_id)
    model = write_model(tmp_path / "listener", model, tokenizer=False)
    rows = [{**row, "text": ("no", "so", "no so")[n % 3]} for n, row in enumerate(_sounds(0.3))]
    _, report, _ = compressed("train_ctc.py", model, rows, *NARROW)
    assert report["metric"] == "wer" and not report["greater_is_better"]


def test_a_recipe_is_run_in_place_of_options(start, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(tmp_path)))
    changes = ("--set", "training.max_steps=2", "--set", f"training.output_dir={tmp_path / 'other'}")
    with pytest.raises(SystemExit) as stop:
        start("train_causal_lm.py", "--recipe", tmp_path / "recipe.yaml", *changes)
    assert not stop.value.code
    assert (tmp_path / "other" / "checkpoint-2").exists() and (tmp_path / "other" / "compressed" / "report.json").exists()


@pytest.mark.parametrize("launch", [forked, pytest.param(accelerate, marks=pytest.mark.slow)])
def test_two_processes_leave_one_result(launch, tmp_path):
    model, data = write_model(tmp_path / "llama"), write_splits(tmp_path / "data", text_rows())
    common = [
        *TRAINING.split(),
        *QUIET.split(),
        "--group_size",
        "16",
        "--length",
        "32",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    printed = launch("scripts/train_causal_lm.py", "--model", str(model), "--data", str(data), *common)
    folder = tmp_path / "out" / "compressed"
    assert printed.count((folder / "report.md").read_text()) == 1, "only the first process prints"
    report = json.loads((folder / "report.json").read_text())
    assert report["rows"][-1]["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert AutoModelForCausalLM.from_pretrained(folder).config.quantization_config


def test_missing_splits_are_cut_from_the_training_rows_and_limits_hold(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from _options import Options

    write_jsonl(tmp_path / "train.jsonl", text_rows(60))
    whole = Options(model="", data=str(tmp_path)).load_data(CausalLM(), seed=0)
    assert {name: len(split) for name, split in whole.items()} == {"train": 54, "validation": 3, "test": 3}
    assert set(whole["train"]["text"]).isdisjoint([*whole["test"]["text"], *whole["validation"]["text"]])
    few = Options(model="", data=str(tmp_path), max_train=9, max_eval=2).load_data(CausalLM(), seed=0)
    assert {name: len(split) for name, split in few.items()} == {"train": 9, "test": 2, "validation": 2}


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("train_*.py")), ids=lambda script: script.stem)
def test_a_script_is_short_and_says_at_its_top_how_it_is_called(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert f"    python scripts/{script.name} --model " in text.split('"""')[1]
    assert f'"{script.name}"' in Path(__file__).read_text(encoding="utf-8")
    assert f"| `{script.name}` |" in (SCRIPTS.parent / "docs" / "scripts.md").read_text(encoding="utf-8")


COLUMNS = {
    "audio_classification": "audio",
    "causal_lm": "text",
    "chat": "messages",
    "ctc": "audio",
    "image_classification": "image",
    "question_answering": "question",
    "seq2seq": "source",
    "sequence_classification": "text",
    "token_classification": "tokens",
}


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("train_*.py")), ids=lambda script: script.stem)
def test_what_is_not_there_is_one_sentence_of_every_script(script, start, tmp_path, capsys):
    def said(*arguments):
        with pytest.raises(SystemExit) as end:
            start(script.name, *arguments)
        assert end.value.code == 2 and sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "model"]
        return [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]

    write_model(tmp_path / "model")
    column = COLUMNS[script.stem.removeprefix("train_")]
    data = write_jsonl(tmp_path / "data.jsonl", [{"other": 1}] * 9)
    given = ["--model", str(tmp_path / "model"), "--output_dir", str(tmp_path / "out")]
    columns = said(*given, "--data", str(data))
    assert f"task.{column}: unknown column of the train split of {data} {column!r} (known: other)" in columns
    assert said(*given, "--data", "./gone.jsonl") == ["data.path: there is no file or folder gone.jsonl"]
    (no_model,) = said("--model", "./gone", "--output_dir", str(tmp_path / "out"), "--data", str(data))
    assert no_model.startswith("model: there is no folder ")
    (no_recipe,) = said("--recipe", str(tmp_path / "gone.yaml"))
    assert "gone.yaml" in no_recipe
