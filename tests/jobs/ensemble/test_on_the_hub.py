"""Members on a local Hub, at a revision, and the result published in one commit."""

import pytest
from huggingface_hub import ModelCard

from hf_compress import Recipe, push
from hf_compress.checkpoints.manifest import Manifest


@pytest.fixture
def hub(local_hub, made):
    for number in range(2):
        push(made / f"model-{number}", f"me/model-{number}")
    return local_hub


def test_members_of_the_hub_are_named_by_their_commits_and_the_result_is_one_commit(hub, recipe):
    members = [{"model": "me/model-0", "revision": "main"}, {"model": "me/model-1"}]
    export = {"repo_id": "me/both", "private": True}
    done = Recipe.from_plain(recipe(members=members, data=None, export=export)).run().result
    assert len([one for one in hub.requests if "me/both/commit/" in one]) == 1 and hub.broken == []
    facts = Manifest.read(done.folder).facts
    commits = [hub.repos[f"me/model-{number}"].at("main").oid for number in range(2)]
    assert [(one["model"], one["revision"]) for one in facts["members"]] == [
        ("me/model-0", commits[0]),
        ("me/model-1", commits[1]),
    ]
    card = ModelCard.load(done.folder / "README.md")
    assert card.data.base_model == ["me/model-0", "me/model-1"]
    assert {str(path.relative_to(done.folder)) for path in done.folder.rglob("*.*") if path.is_file()} <= set(
        hub.files("me/both")
    )


def test_a_revision_that_is_gone_is_refused_before_the_work(hub, recipe, tmp_path):
    members = [{"model": "me/model-0", "revision": "0" * 40}, {"model": "me/model-1"}]
    said = [str(one) for one in Recipe.from_plain(recipe(members=members, data=None)).preflight()]
    assert len(said) == 1 and said[0].startswith("members.0.model: 'me/model-0'"), said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_written_is_pushed_with_its_manifest(hub, recipe):
    done = Recipe.from_plain(recipe()).run()
    push(done.folder, "me/measured")
    assert {"compression.json", "report.json", "member-1/model.safetensors"} <= set(hub.files("me/measured"))
