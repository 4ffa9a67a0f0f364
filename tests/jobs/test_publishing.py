"""Recipes that say where their result goes: asked before the work, published behind it, and nothing lost on the way."""

import json

import pytest

from hf_compress import Recipe
from hf_compress._hub.publication import Publication
from hf_compress._yaml import write_yaml
from tests.jobs.adapters import run
from tests.small import pretrained, recipe, text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
EXPORT = {"repo_id": "me/model", "private": True, "tag": "v1"}
JOBS = {"ensemble", "prune", "shrink", "train", "train-member", "merge", "merge-adapters", "extract-adapter"}


def holds(hub, folder, name="me/model"):
    here = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return here.items() <= hub.files(name).items()


def trained(tmp_path, **changes):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    write_model(tmp_path / "base")
    return recipe(
        tmp_path, pretrained(tmp_path / "base", {"export": EXPORT, "evaluation": {"untrained": False}, **changes})
    )


def test_every_job_that_writes_a_folder_says_where_it_goes_by_the_same_value():
    writing = {name for name, job in Recipe.available().items() if "export" in job.__dataclass_fields__}
    assert writing == JOBS
    for name in JOBS:
        assert isinstance(Recipe.available()[name].__dataclass_fields__["export"].default_factory(), Publication)


def test_a_training_is_published_and_a_push_that_failed_loses_nothing(local_hub, tmp_path, call):
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(trained(tmp_path)))
    local_hub.fault("POST .*/commit/main", 413)
    code, _, (complaint,) = call("run", file)
    result = tmp_path / "out" / "compressed"
    assert code == 1 and result.is_dir() and local_hub.repos["me/model"].private
    assert complaint.startswith(f"{result} is finished and stays; the push to me/model (main) failed: status 413")
    assert complaint.endswith(f"'hf-compress push {result} me/model --private --tag v1' goes on")
    code, out, _ = call("run", file, "--resume")
    assert code == 0 and holds(local_hub, result) and local_hub.broken == []
    assert out.endswith(f"published        {local_hub.url}/me/model/commit/{local_hub.repos['me/model'].tags['v1']}\n")
    assert "me/model" not in (result / "README.md").read_text()  # what it is does not depend on where it went
    code, out, _ = call("run", file, "--resume", "--set", "export.repo_id=me/other", "--set", "export.private=false")
    assert code == 0 and holds(local_hub, result, "me/other")


def test_what_cannot_be_published_is_refused_before_the_work(local_hub, tmp_path, call, monkeypatch):
    data = trained(tmp_path, **{"pruning.schedule.final": 2.0})
    (tmp_path / "recipe.yaml").write_text(write_yaml({**data, "export": {"repo_id": "other/model"}}))
    for command in ("check", "run"):
        code, _, complaints = call(command, tmp_path / "recipe.yaml")
        assert code == 2 and len(complaints) == 2
        assert any("export.repo_id: repo_id='other/model' is not the token's to write to" in one for one in complaints)
    monkeypatch.delenv("HF_TOKEN")
    right = trained(tmp_path)
    (tmp_path / "recipe.yaml").write_text(write_yaml(right))
    assert call("run", tmp_path / "recipe.yaml")[0::2] == (
        2,
        ["export.repo_id: there is no token for the Hub; set HF_TOKEN in the environment, or log in with `hf auth login`"],
    )
    assert not (tmp_path / "out").exists()


def test_what_is_pruned_at_once_is_published(local_hub, tmp_path, call):
    data = {key: value for key, value in trained(tmp_path).items() if key in ("model", "task", "data", "export")}
    asked = {"job": "prune", **data, "pruning": {}, "evaluation": {"examples": 0}, "output_dir": str(tmp_path / "pruned")}
    (tmp_path / "recipe.yaml").write_text(write_yaml(asked))
    code, out, complaints = call("run", tmp_path / "recipe.yaml")
    assert (code, complaints) == (0, []) and holds(local_hub, tmp_path / "pruned") and "published        " in out
    assert "me/model" not in (tmp_path / "pruned" / "README.md").read_text()


def test_what_is_shrunk_is_published_and_a_push_that_failed_loses_nothing(local_hub, tmp_path, call):
    data = {key: value for key, value in trained(tmp_path).items() if key in ("model", "export")}
    asked = {"job": "shrink", **data, "shrink": {"feed_forward": 0.5}, "output_dir": str(tmp_path / "small")}
    (tmp_path / "recipe.yaml").write_text(write_yaml(asked))
    local_hub.fault("POST .*/commit/main", 413)
    code, _, (complaint,) = call("run", tmp_path / "recipe.yaml")
    assert code == 1 and complaint.startswith(
        f"{tmp_path / 'small'} is finished and stays; the push to me/model (main) failed"
    )
    assert call("push", tmp_path / "small", "me/model", "--private", "--tag", "v1")[0] == 0
    assert holds(local_hub, tmp_path / "small") and local_hub.broken == []
    asked = {**asked, "output_dir": str(tmp_path / "again"), "export": {**EXPORT, "repo_id": "me/again"}}
    (tmp_path / "recipe.yaml").write_text(write_yaml(asked))
    code, out, complaints = call("run", tmp_path / "recipe.yaml")
    assert (code, complaints) == (0, []) and holds(local_hub, tmp_path / "again", "me/again") and "published        " in out
    assert "me/again" not in (tmp_path / "again" / "README.md").read_text()


def test_merges_and_adapters_are_published(local_hub, folder, call):
    tiny_llama(3).save_pretrained(folder / "other")
    merge = {
        "job": "merge",
        "method": "linear",
        "members": [{"model": str(folder / "base")}, {"model": str(folder / "other")}],
    }
    adapters = {"job": "merge-adapters", "adapters": [str(folder / "a"), str(folder / "b")], "base": "me/base"}
    local_hub.create("me/base")
    for data, name in ((merge, "me/merged"), (adapters, "me/adapter")):
        out = folder / name.replace("/", "-")
        code, said, complaints = run(call, folder, {**data, "output_dir": str(out), "export": {"repo_id": name}})
        assert (code, complaints) == (0, [])
        assert holds(local_hub, out, name) and f"published        {local_hub.url}/{name}/commit/" in said
    assert json.loads(local_hub.files("me/adapter")["compression.json"])["base_model"] == "me/base"
    local = {**adapters, "base": str(folder / "base"), "output_dir": str(folder / "local"), "export": {"repo_id": "me/x"}}
    code, _, (complaint,) = run(call, folder, local)
    assert code == 2 and not (folder / "local").exists() and complaint.startswith("base is a folder of this machine")
