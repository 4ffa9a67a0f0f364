"""A recipe with several schemes, from YAML to a card: what each module has is what the folder and its report say."""

import json

import torch
from transformers import AutoModelForCausalLM

from hf_compress import Recipe
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.requantize import quantization_of
from tests.small import DROP, recipe, text_rows, write_jsonl


def test_two_schemes_from_a_recipe(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    groups = [
        {"scheme": {"name": "W8A16", "group_size": 32}, "targets": ["re:.*down_proj"]},
        {"scheme": {"name": "W4A16", "group_size": 16}, "targets": ["Linear"]},
    ]
    changes = {"quantization": {"groups": groups, "begin": "50%"}, "pruning": DROP, "distillation": DROP}
    asked = Recipe.from_plain(recipe(tmp_path, changes))
    assert asked.preflight() == []
    result = asked.run()
    assert Recipe.load(tmp_path / "out" / "recipe.yaml") == asked
    config = json.loads((result.folder / "config.json").read_text())
    assert {group.scheme for group in quantization_of(config).groups} == {
        group.scheme for group in asked.quantization.groups
    }
    (reach,) = result.report.reach
    assert reach.endswith("; W4A16 (group_size 16) in 12, W8A16 (group_size 32) in 2")
    manifest = Manifest.read(result.folder)
    assert [method["name"] for method in manifest.fact("methods")] == ["W8A16", "W4A16"]
    card = (result.folder / "README.md").read_text()
    assert card.index("- scheme `W8A16`") < card.index("- scheme `W4A16`") and reach in card
    loaded = AutoModelForCausalLM.from_pretrained(result.folder)
    with torch.no_grad():
        assert torch.isfinite(loaded(input_ids=torch.tensor([[5, 6, 7]])).logits).all()
    weights = {name: module.weight for name, module in loaded.named_modules() if name.endswith(("up_proj", "down_proj"))}
    # Unpacked by the forward: a group of 16 has at most 16 values, one of 32 here more.
    assert max(len(row.unique()) for row in weights["model.layers.0.mlp.up_proj"].reshape(-1, 16)) <= 16
    assert max(len(row.unique()) for row in weights["model.layers.0.mlp.down_proj"].reshape(-1, 32)) > 16
