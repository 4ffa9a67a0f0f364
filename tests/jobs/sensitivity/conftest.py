"""A small model, rows, and a recipe that asks its layers."""

import pytest

from hf_compress._yaml import write_yaml
from tests.small import text_rows, write_jsonl, write_model


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", text_rows())
    write_model(tmp_path / "model")
    return tmp_path


@pytest.fixture
def recipe(folder):
    """recipe(changes) -> a file."""

    def write(**changes):
        data = {
            "job": "sensitivity",
            "model": str(folder / "model"),
            "task": {"name": "causal_lm", "length": 16},
            "data": {"path": str(folder / "rows.jsonl"), "max_eval": 4},
            "pruning": {"sparsity": 0.5},
            "output_dir": str(folder / "out"),
            **changes,
        }
        (folder / "recipe.yaml").write_text(write_yaml(data))
        return folder / "recipe.yaml"

    return write
