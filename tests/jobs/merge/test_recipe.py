"""Merging by command and by recipe."""

import json

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from hf_compress import Recipe
from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.manifest import Manifest
from tests.command_line import tree
from tests.merging.zoo import make


@pytest.fixture
def models(tmp_path):
    for seed, name in enumerate(("base", "a", "b")):
        make("GPT-2", seed).save_pretrained(tmp_path / name)
    return tmp_path


def config(models, **changes):
    data = {
        "method": {"name": "slerp", "t": 0.25},
        "members": [{"model": str(models / "a"), "name": "a"}, {"model": str(models / "b"), "name": "b"}],
        **changes,
    }
    file = models / "merge.yaml"
    file.write_text(write_yaml(data))
    return file


def test_merge_writes_a_checkpoint_a_manifest_and_a_card(models, call):
    code, out, complaints = call("merge", config(models), models / "out", "--threads", 1)
    assert (code, complaints) == (0, [])
    assert "loads as GPT2LMHeadModel: nothing missing, nothing unexpected" in out
    assert out.splitlines()[-1] == f"model and card  {models / 'out'}"
    manifest = Manifest.read(models / "out")
    assert manifest.kind == "merge" and manifest.facts["merge"]["method"] == {"name": "slerp", "t": 0.25, "compat": "paper"}
    card = ModelCard.load(models / "out" / "README.md")
    assert card.data.tags == ["hf_compress", "merge", "slerp"]
    assert card.data.base_model is None  # local folders are not named to the Hub


def test_the_recipe_in_the_card_gives_the_same_tensors_where_its_models_are(models, call, monkeypatch):
    call("merge", config(models), models / "out")
    text = (models / "out" / "README.md").read_text()
    assert str(models) not in text
    monkeypatch.chdir(models)
    recipe = models / "again.yaml"
    recipe.write_text(text.split("```yaml\n")[-1].split("```")[0])
    assert call("merge", recipe, models / "again")[0] == 0
    first, second = (load_file(models / name / "model.safetensors") for name in ("out", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_recipe_with_a_job_runs_and_is_checked(models, call):
    file = config(models, job="merge", output_dir=str(models / "run"))
    before = tree(models)
    assert call("check", file)[0] == 0 and tree(models) == before
    assert call("run", file)[0] == 0
    assert (models / "run" / "model.safetensors").exists()
    code, _, complaints = call("check", file)
    assert code == 2 and complaints == [f"output_dir: {models / 'run'} exists already; remove it or name another folder"]


def test_a_merge_is_checked_without_writing_whoever_wrote_its_configuration(models, call):
    before = tree(models)
    (models / "kit.yaml").write_text(
        "merge_method: linear\nmodels:\n"
        + "".join(f"  - {{model: {models / name}, parameters: {{weight: 1.0}}}}\n" for name in ("a", "b"))
    )
    file = config(models)
    for name in (file, models / "kit.yaml"):
        code, out, complaints = call("merge", name, models / "out", "--check")
        assert (code, complaints) == (0, []) and "no mistakes found (job merge, " in out
    code, _, complaints = call("check", models / "kit.yaml")
    way_out = "write hf-compress merge FILE OUT, with --check to only check it"
    assert code == 2 and complaints == [f"job: this is a mergekit configuration; {way_out}"]
    (models / "kit.yaml").unlink()
    file.unlink()
    assert tree(models) == before
    (models / "b" / "model.safetensors").write_bytes((models / "base" / "model.safetensors").read_bytes()[:-8])
    code, _, complaints = call("merge", config(models), models / "out", "--check")
    assert code == 2 and len(complaints) == 1 and "b/model.safetensors is truncated" in complaints[0]
    assert not (models / "out").exists()


def test_round_trip(models):
    loaded = Recipe.from_plain({"job": "merge", **yaml.safe_load(config(models).read_text()), "output_dir": "out"})
    assert Recipe.from_plain(json.loads(json.dumps(loaded.to_plain()))) == loaded
    assert Recipe.from_plain(loaded.to_plain(full=True)) == loaded


def test_a_train_recipe_is_no_merge(models, call):
    code, _, complaints = call("merge", config(models, job="train"), models / "out")
    assert code == 2 and not (models / "out").exists()
    assert complaints == [f"job: 'train' is not a merge; do it with hf-compress run {models / 'merge.yaml'}"]


MISTAKES = {
    "unknown method": ({"method": "slerpp"}, "method: unknown merge method 'slerpp'; did you mean 'slerp'?"),
    "unknown argument": ({"method": {"name": "slerp", "tt": 1}}, "method.tt: unknown key 'tt'; did you mean 't'?"),
    "value": ({"method": {"name": "slerp", "t": 2}}, "method: t=2.0 lies outside [0, 1]"),
    "no folder": ({"members": [{"model": "./nowhere"}, {"model": "./b"}]}, "./nowhere: there is no folder './nowhere'"),
    "empty member": ({"members": [{"model": ""}]}, "members.0: model is empty"),
    "size": ({"max_shard_size": "large"}, "max_shard_size='large' is not a size"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(mistake, models, call):
    changes, sentence = MISTAKES[mistake]
    file = config(models, **changes)
    before = tree(models)
    code, out, complaints = call("merge", file, models / "out")
    assert code == 2 and out == "" and tree(models) == before
    assert complaints and complaints[0].startswith(sentence)


@pytest.mark.parametrize("place", ["/proc/out", "/dev/null/out", "new/" + "a" * 300])
def test_where_no_folder_can_be_made_nothing_is_read_before_it_is_said(place, models, call, monkeypatch):
    monkeypatch.chdir(models)
    before = tree(models)
    file = config(models)
    code, out, (complaint,) = call("merge", file, place)
    assert (code, out) == (2, "") and complaint.startswith("output_dir: ")
    assert complaint.endswith(("name another folder", "name another place"))
    code, _, (checked,) = call("merge", file, place, "--check")
    assert code == 2 and checked == complaint
    assert sorted({*tree(models)} - {"merge.yaml"}) == before


def test_mistakes_of_fields_models_adapters_statistics_and_folder_come_in_one_go(models, call):
    members = [
        {"model": "./nowhere", "name": "x", "weight": "much"},
        {"model": str(models / "a"), "adapter": "./no-adapter", "name": "y", "statistics": {"fisher": "./no-statistics"}},
    ]
    file = config(models, method="fisher", members=members, seed="no", output_dir=str(models / "b"), job="merge")
    code, _, complaints = call("run", file)
    assert code == 2 and [line.partition(":")[0] for line in complaints] == ["members.0.weight", "seed", "output_dir"]
    members[0]["weight"] = 1.0
    file = config(models, method="linear", members=members, output_dir=str(models / "b"), job="merge")
    for command in ("run", "check"):
        code, _, complaints = call(command, file)
        assert code == 2 and [line.partition(":")[0] for line in complaints] == [
            "unknown members.1.statistics",
            "output_dir",
            "x",
            "y",
            "y (fisher)",
        ]
