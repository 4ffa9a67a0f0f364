"""Data as people have it, from the recipe on: each kind passes the check, and two are trained on."""

import csv
import gzip
import json

import PIL.Image
import pytest
from datasets import Dataset, DatasetDict

from hf_compress import Recipe
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
