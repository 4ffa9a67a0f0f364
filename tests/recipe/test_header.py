"""The top of a shipped recipe says what it needs, what is missing points there, and the commands make what they say."""

import importlib.util
from pathlib import Path

import datasets
import pytest

from hf_compress.inputs.data import load_splits
from hf_compress.inputs.sections import Data
from hf_compress.recipe.header import NEEDS, header_of
from hf_compress.recipe.yaml_text import read_recipe
from hf_compress.tasks.opened import open_data
from hf_compress.tasks.task import Task
from tests.small import recipe, text_rows, write_jsonl
from tests.sounds import sine, wav

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))


def local_inputs(data):
    """What a recipe names that no clone has."""
    if isinstance(data.get("train"), dict):  # what members of an ensemble are trained by
        return local_inputs(data["train"])
    found = [member["model"] for member in data.get("members", [])]
    found += [data["data"]["path"]] if "data" in data else []
    found += [data[key] for key in ("model", "against") if isinstance(data.get(key), str)]
    return [path for path in found if not path.startswith("builtin:")]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_fresh_clone_is_told_what_each_shipped_recipe_needs(file, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs, header = local_inputs(read_recipe(file)), header_of(file)
    code, _, complaints = call("check", file)
    assert (code == 0) == (not inputs)
    assert len(complaints) == len(inputs)
    for line in complaints:
        assert line.endswith(f"; see `{NEEDS}` at the top of {file}"), line
    for path in inputs:
        assert path in header or path.rpartition("/")[0] in header or "from the Hub" in header, path


def test_a_recipe_without_such_a_header_says_nothing_of_one(call, tmp_path):
    from hf_compress._yaml import write_yaml

    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(tmp_path, {"data.path": "nowhere.jsonl"})))
    _, _, complaints = call("check", tmp_path / "recipe.yaml")
    assert complaints == ["data.path: there is no file or folder nowhere.jsonl"]


def test_only_what_is_missing_points_to_the_header(call, tmp_path):
    from hf_compress._yaml import write_yaml

    changes = {"task.text": "txt", "distillation.teacher": {"name": "model", "model": "./nowhere"}}
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    text = f"# A title.\n{NEEDS} a teacher in ./nowhere: make it\n\n{write_yaml(recipe(tmp_path, changes))}"
    (tmp_path / "recipe.yaml").write_text(text)
    _, _, complaints = call("check", tmp_path / "recipe.yaml")
    pointing = [line for line in complaints if NEEDS in line]
    assert len(complaints) == 2 and len(pointing) == 1 and pointing[0].startswith("distillation.teacher.model")


def script():
    spec = importlib.util.spec_from_file_location("fetch_inputs", ROOT / "scripts" / "fetch_inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published(name, *configuration, **options):
    """What the public copies look like, by their pages: columns, splits and the kinds of their values."""
    classes = datasets.ClassLabel(names=["negative", "positive"])
    if name == "uoft-cs/cifar10":
        features = datasets.Features({"img": datasets.Image(), "label": classes})
        rows = {"img": [{"bytes": PIXEL, "path": None}] * 8, "label": [0, 1] * 4}
        made = datasets.Dataset.from_dict(rows, features=features)
        return datasets.DatasetDict({"train": made, "test": made})
    if name == "openai/gsm8k":
        rows = datasets.Dataset.from_dict({"question": ["1 + 1?"] * 8, "answer": ["It is 2. #### 2"] * 8})
        return datasets.DatasetDict({"train": rows, "test": rows})
    if name == "mteb/free-spoken-digit-dataset":
        sounds = [{"bytes": wav(sine(8000, seconds=0.1), 8000), "path": None}] * 8
        rows = datasets.Dataset.from_dict({"audio": sounds, "label": [0, 1] * 4})
        rows = rows.cast_column("audio", datasets.Audio())
        return datasets.DatasetDict({"train": rows, "test": rows})
    if name == "bentrevett/multi30k":
        rows = datasets.Dataset.from_dict({"en": ["a dog"] * 8, "de": ["ein Hund"] * 8})
        return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), rows))
    if name == "parquet" and "scitldr" in options["data_files"]["train"]:
        rows = datasets.Dataset.from_dict(
            {"source": [["We sort.", "It works."]] * 8, "target": [["We sort.", "Sorting"]] * 8}
        )
        return datasets.DatasetDict(dict.fromkeys(options["data_files"], rows))
    if name == "parquet":
        tags = datasets.List(datasets.ClassLabel(names=["O", "B-person"]))
        features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
        rows = datasets.Dataset.from_dict({"tokens": [["hi", "Ann"]] * 8, "ner_tags": [[0, 1]] * 8}, features=features)
        return datasets.DatasetDict(dict.fromkeys(options["data_files"], rows))
    if name == "roneneldan/TinyStories":
        return datasets.Dataset.from_dict({"text": ["once upon a time"] * 160})
    columns = options.get("column_names", ["text", "category"])
    values = ["0", "1"] if columns[1] == "label" else ["card_arrival", "top_up_failed"]
    rows = {columns[0]: ["a text"] * 40, columns[1]: [int(each) if each.isdigit() else each for each in values] * 20}
    return datasets.DatasetDict({split: datasets.Dataset.from_dict(rows) for split in options["data_files"]})


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8cfc00000030101003d1a5f2f0000000049454e44ae426082"
)
TASK = {
    "sst2": {"name": "sequence_classification"},
    "cifar10": {"name": "image_classification"},
    "banking77": {"name": "sequence_classification"},
    "wnut17": {"name": "token_classification", "labels": "ner_tags"},
    "wnut17_questions": {"name": "question_answering"},
    "gsm8k": {"name": "chat", "prompt": "question", "completion": "answer"},
    "tinystories_mini": {"name": "causal_lm"},
    "multi30k": {"name": "seq2seq", "source": "en", "target": "de"},
    "scitldr": {"name": "seq2seq", "source": "source", "target": "all_targets"},
    "fsdd": {"name": "audio_classification"},
}


@pytest.mark.parametrize("name", TASK)
def test_the_script_makes_the_folders_that_recipes_read(name, tmp_path):
    fetch = script()
    assert name in fetch.DATA
    folder = fetch.fetch_data(name, tmp_path, published)
    task = Task.create(**TASK[name])
    splits, labels = open_data(Data(path=str(folder)), task, seed=0)
    classes = 2 if task.head.classes == "labels" else 0
    assert set(splits) == set(load_splits(Data(path=str(folder)), 0)) and len(labels) == classes
    if name == "banking77":  # what scripts/bench/merge_gain.py reads
        assert all(isinstance(value, int) for value in splits["train"]["label"])


def test_questions_about_names_are_answered_where_the_names_stand(tmp_path):
    words = ["I-", "Ann", "Lee", "saw", "Bo", "in", "New", "York", "Rome"]
    tags = ["O", "B-person", "I-person", "O", "B-person", "O", "I-location", "I-location", "B-location"]
    people, places = list(script()._questions(words, tags))
    assert people == {
        "question": "Which person is named?",
        "context": "I- Ann Lee saw Bo in New York Rome",
        "answers": {"text": ["Ann Lee", "Bo"], "answer_start": [3, 15]},
    }
    assert places["answers"] == {"text": ["New York", "Rome"], "answer_start": [21, 30]}
