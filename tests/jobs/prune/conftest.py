"""A small model, rows, and a recipe that prunes it."""

import copy

import pytest

from hf_compress._yaml import write_yaml
from tests.small import text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", text_rows())
    write_model(tmp_path / "model", tiny_llama())
    return tmp_path


@pytest.fixture
def recipe(folder):
    """recipe(changes) -> a file."""

    def write(**changes):
        data = {
            "job": "prune",
            "model": str(folder / "model"),
            "task": {"name": "causal_lm", "length": 16},
            "data": {"path": str(folder / "rows.jsonl")},
            "pruning": {"sparsity": 0.5},
            "evaluation": {"examples": 0},
            "export": {"dtype": "float32"},
            "output_dir": str(folder / "out"),
        }
        data |= copy.deepcopy(changes)
        (folder / "recipe.yaml").write_text(write_yaml({key: value for key, value in data.items() if value is not None}))
        return folder / "recipe.yaml"

    return write
