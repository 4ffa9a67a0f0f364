"""Two classifiers that have learned something of a made-up text, each its own part, and its rows."""

import json

import pytest
import torch

from tests.ensembling.folders import named, saved, sharper
from tests.tiny import tiny_bert, tiny_tokenizer

LABELS = "abc"


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(26, (count, 6), generator=generator).tolist()
    texts = ["".join(chr(97 + letter) for letter in word) for word in words]
    return [{"text": text, "label": LABELS[sum(map(ord, text)) % 3]} for text in texts]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("ensemble")
    members = [named(sharper(tiny_bert(seed)), order) for seed, order in enumerate(("abc", "cab"))]
    saved(members, [tiny_tokenizer(), tiny_tokenizer()], place)
    (place / "data").mkdir()
    for split, count in (("train", 12), ("validation", 40), ("test", 48)):
        text = "\n".join(map(json.dumps, rows(count, count)))
        (place / "data" / f"{split}.jsonl").write_text(text)
    return place


@pytest.fixture
def recipe(made, tmp_path):
    def of(**changes):
        data = {
            "job": "ensemble",
            "members": [{"model": str(made / "model-0")}, {"model": str(made / "model-1")}],
            "task": {"name": "sequence_classification", "length": 16},
            "data": {"path": str(made / "data")},
            "latency": {"rows": 1, "rounds": 1, "warmup": 0},
            "output_dir": str(tmp_path / "out"),
            **changes,
        }
        return {key: value for key, value in data.items() if value is not None}

    return of
