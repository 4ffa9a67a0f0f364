"""A tiny classifier of texts to train several of."""

import json

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.command_line import call  # noqa: F401 (for every test of the folder)
from tests.jobs.ensemble.conftest import rows
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Data in three splits, and a model without a head of its own."""
    place = tmp_path_factory.mktemp("members")
    torch.manual_seed(0)
    shape = {"vocab_size": len(tiny_tokenizer()), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = BertConfig(**shape, num_attention_heads=2, max_position_embeddings=32)
    BertForSequenceClassification(config).bert.save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    (place / "data").mkdir()
    for split, count in (("train", 24), ("validation", 20), ("test", 20)):
        (place / "data" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows(count, count))))
    return place


@pytest.fixture(scope="session")
def recipe(start):
    """A recipe of the job as plain data, that writes to a folder; changes are {"a.b": value}, None takes a key away."""

    def of(folder, **changes):
        data = {
            "job": "train-ensemble",
            "train": {
                "model": str(start / "model"),
                "task": {"name": "sequence_classification", "length": 16},
                "data": {"path": str(start / "data")},
                "evaluation": {"examples": 0},
                "training": {
                    "max_steps": 4,
                    "per_device_train_batch_size": 4,
                    "learning_rate": 0.01,
                    "save_steps": 2,
                    "use_cpu": True,
                    "disable_tqdm": True,
                },
            },
            "diversity": {"name": "seeds", "num_members": 2},
            "output_dir": str(folder / "out"),
        }
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = data
            for part in parents:
                place = place[part]
            if value is None:
                del place[last]
            else:
                place[last] = value
        return data

    return of
