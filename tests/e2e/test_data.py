"""Data as people have it, from the recipe on: each kind passes the check, and two are trained on."""

import csv
import gzip
import json
import shutil

import PIL.Image
import pytest
from datasets import Dataset, DatasetDict

from hf_compress import Recipe
from hf_compress._problems import RecipeError
from tests.contracts.test_tasks import WAV2VEC2
from tests.small import DROP, VIT_RECIPE, recipe, text_rows, write_jsonl
from tests.sounds import sine, wav

TEXT = {"task": {"name": "sequence_classification", "label": "name", "length": 16}}
AUDIO = {"task": "audio_classification", "tokenizer": DROP, "model": {"config": WAV2VEC2}}


def table(separator, opened=open):
    def write(folder):
        name = {",": "data.csv.gz", "\t": "data.tsv"}[separator]
        with opened(folder / name, "wt", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label", "name"], delimiter=separator)
            writer.writeheader()
            writer.writerows(text_rows(12))
        return folder / name

    return write


def saved(folder):
    rows = Dataset.from_list(text_rows(12))
    DatasetDict(train=rows, dev=rows).save_to_disk(folder / "saved")
    return folder / "saved"


def shards(folder):
    for number in range(2):
        (folder / "data" / "train").mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / "data" / "train" / f"{number}.jsonl", text_rows(6))
    return folder / "data"


def images(folder):
    for number in range(20):
        file = folder / "data" / ("dark", "light")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (8, 8), (200 * (number % 2), 0, number)).save(file)
    return folder / "data"


def sounds(folder):
    (folder / "data" / "clips").mkdir(parents=True)
    lines = ["file_name,label"]
    for number in range(12):
        (folder / "data" / "clips" / f"{number}.wav").write_bytes(wav(sine(16000, 200.0 * (1 + number % 2), 0.1), 16000))
        lines.append(f"clips/{number}.wav,{'low' if number % 2 else 'high'}")
    (folder / "data" / "metadata.csv").write_text("\n".join(lines))
    return folder / "data"


KINDS = {
    "csv.gz": (TEXT, table(",", gzip.open)),
    "tsv": (TEXT, table("\t")),
    "folders of shards": (TEXT, shards),
    "save_to_disk": (TEXT, saved),
    "imagefolder": (VIT_RECIPE, images),
    "audiofolder": (AUDIO, sounds),
}
IGNORED = {"pruning.ignore": ["re:.*score", "classifier"], "quantization.ignore": ["score", "classifier"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_with_data_of_every_kind_passes_the_check(kind, tmp_path):
    changes, write = KINDS[kind]
    made = recipe(tmp_path, {**changes, **IGNORED, "data": {"path": str(write(tmp_path)), "validation_share": 0.3}})
    assert Recipe.from_plain(made).preflight() == []


@pytest.mark.parametrize("kind", ["csv.gz", "imagefolder"])
def test_a_run_ends_with_the_classes_of_the_recipe(kind, tmp_path):
    changes, write = KINDS[kind]
    made = recipe(
        tmp_path,
        {
            **changes,
            **IGNORED,
            "data": {"path": str(write(tmp_path)), "validation_share": 0.3},
            "task.classes": ["warm", "cold"] if kind == "csv.gz" else ["light", "dark"],
            "evaluation": {"untrained": False},
            "training.max_steps": 2,
            "dense.training": {"max_steps": 1},
        },
    )
    result = Recipe.from_plain(made).run()
    config = json.loads((result.folder / "config.json").read_text())
    assert config["label2id"] == ({"warm": 0, "cold": 1} if kind == "csv.gz" else {"light": 0, "dark": 1})
    assert all("accuracy" in row.metrics for row in result.report.rows)


STREAM = {
    "task": {"name": "sequence_classification", "label": "name", "length": 16, "classes": ["cold", "warm"]},
    "data": {"streaming": True, "max_eval": 8},
    **IGNORED,
}


def streamed(folder, changes):
    file = write_jsonl(folder / "rows.jsonl", text_rows(40))
    return recipe(folder, {**STREAM, "data.path": str(file), **changes})


def test_a_stream_is_trained_on_longer_than_it_is_and_resumed_with_the_same_bits(tmp_path):
    changes = {"training.max_steps": 8, "training.save_steps": 1, "evaluation": {"untrained": False}}
    made = Recipe.from_plain(streamed(tmp_path, changes))
    assert made.preflight() == []
    result = made.run()  # 32 rows, of 24
    assert "a stream of train" in result.report.setting["data"] and "begins again" in result.report.setting["stream"]
    weights = (result.folder / "model.safetensors").read_bytes()
    for part in (result.folder, result.folder.parent / "checkpoint-8"):
        shutil.rmtree(part)
    assert (made.run(resume=True).folder / "model.safetensors").read_bytes() == weights


STREAM_MISTAKES = {
    "no end": ({"training.max_steps": DROP}, ["training.max_steps: is missing: data.streaming reads rows without an end"]),
    "no end of the dense stage": (
        {"dense.training": {"max_steps": -1}},
        ["dense.training.max_steps: takes away the end of training, which data.streaming needs"],
    ),
    "statistics": ({"calibration": {}}, ["calibration: draws from all training rows, which data.streaming does not know"]),
    "a share": ({"data.validation_share": 0.1}, ["data: validation_share is a share of all rows, which of a stream"]),
    "no number for missing splits": ({"data.max_eval": DROP}, ["data.max_eval: is missing: "]),
    "more cut off than there is": ({"data.max_eval": 20}, ["data.path: the train split of "]),
    "labels": ({"task.classes": DROP}, ["task.classes: is missing: which labels a stream has is not known before its end"]),
    "a task that looks at all": (
        {"task": {"name": "question_answering", "length": 32}},
        ["data.streaming: question_answering looks at all training rows before the first step"],
    ),
    "a column and a label": (
        {"task.text": "txt", "task.classes": ["cold", "hot"]},
        ["task.text: unknown column of the train split of ", "task.label: row 1 (counted from 0) of "],
    ),
    "another source": ({"data.path": "builtin:pydoc"}, ["data.streaming: builtin:pydoc is in memory"]),
}


@pytest.mark.parametrize("mistake", STREAM_MISTAKES)
def test_what_a_stream_cannot_do_is_said_before_training(mistake, tmp_path):
    changes, expected = STREAM_MISTAKES[mistake]
    with pytest.raises(RecipeError) as refusal:
        check(streamed(tmp_path, changes))
    problems = [str(problem) for problem in refusal.value.problems]
    assert len(problems) == len(expected), problems
    assert all(problem.startswith(words) for problem, words in zip(sorted(problems), sorted(expected), strict=True))


def check(plain):
    problems = Recipe.from_plain(plain, sources=True).preflight()
    if problems:
        raise RecipeError(problems)


def test_statistics_are_not_collected_on_a_stream(tmp_path):
    data = {"path": str(write_jsonl(tmp_path / "rows.jsonl", text_rows(9))), "streaming": True}
    plain = {
        "job": "collect-statistics",
        "model": "x",
        "task": "causal_lm",
        "data": data,
        "output_dir": str(tmp_path / "o"),
    }
    with pytest.raises(RecipeError, match="data.streaming: statistics are of a number of rows, which a stream has not"):
        Recipe.from_plain(plain)
