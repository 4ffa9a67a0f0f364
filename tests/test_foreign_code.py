"""Code that lies beside a checkpoint is never run, whoever loads it."""

import ast
import json

import pytest
import torch

from hf_compress import CompressionError, ModelTeacher, Recipe
from tests.small import pretrained, recipe, text_rows, write_jsonl
from tests.test_architecture import FILES, name_of
from tests.tiny import tiny_llama

LOADERS = {"from_pretrained", "from_config"}
LOADS_NOTHING = {"AutoHfExporter", "GenerationConfig"}  # the config is the exporter's own; numbers without code


def loads_with_code(file):
    """Calls that do not say that code beside a checkpoint stays where it is."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        # A plain name is a function of this package that passes it on.
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS:
            if getattr(node.func.value, "id", None) in LOADS_NOTHING:
                continue
            given = {each.arg: each.value for each in node.keywords}.get("trust_remote_code")
            if not isinstance(given, ast.Constant) or given.value is not False:
                yield f"{name_of(file)}:{node.lineno}"


def test_every_load_refuses_code_beside_the_checkpoint():
    assert [line for file in FILES for line in loads_with_code(file)] == []


def foreign(folder):
    """A checkpoint whose config names code beside it; the code leaves a file behind."""
    tiny_llama().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}, "model_type": "of_its_own"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(
        f"from pathlib import Path\nPath({str(folder / 'executed')!r}).touch()\n"
        "from transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
    )
    return folder


def test_a_teacher_with_code_of_its_own_is_refused_without_a_question(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = foreign(tmp_path / "teacher")
    with pytest.raises(
        CompressionError, match="code that lies beside it, which is never run here; load the model yourself"
    ):
        ModelTeacher(model=str(folder)).load(tiny_llama(), torch.device("cpu"))
    assert not (folder / "executed").exists()


def test_a_model_with_code_of_its_own_is_refused_in_a_recipe(tmp_path):
    folder = foreign(tmp_path / "model")
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    problems = Recipe.from_plain(recipe(tmp_path, pretrained(folder))).preflight()
    assert any("which is never run here; load the model yourself and pass it" in problem.message for problem in problems)
    assert not (folder / "executed").exists()
