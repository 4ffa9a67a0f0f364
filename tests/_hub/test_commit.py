import logging
import shutil

import pytest

from hf_compress import CompressionError
from hf_compress._hub.client import PushError
from tests._hub.made import contents, folder, patient, push


def commits(hub, name="me/model"):
    return [request for request in hub.requests if request.startswith(f"POST /api/models/{name}/commit")]


def test_a_folder_arrives_in_one_commit_and_is_not_sent_twice(local_hub, tmp_path):
    place = folder(tmp_path / "model", shards=3)
    done = push(place)
    assert {**contents(place), ".gitattributes": b"*.bin filter=lfs\n"} == local_hub.files("me/model")
    assert len(commits(local_hub)) == 1
    assert done.url == f"{local_hub.url}/me/model/commit/{local_hub.repos['me/model'].branches['main']}"
    assert not push(place).changed
    assert len(commits(local_hub)) == 1
    assert len(local_hub.uploads) == 3


def test_a_new_version_takes_its_old_files_along_and_leaves_those_of_others(local_hub, tmp_path):
    push(folder(tmp_path / "one"))
    local_hub.commit("me/model", {"LICENSE": b"mine", "onnx/model.onnx": b"exported"})
    two = folder(tmp_path / "two", "two", shards=2)
    assert push(two).removed == ("model.safetensors",)
    held = local_hub.files("me/model")
    assert {name: held[name] for name in contents(two)} == contents(two)
    assert held.keys() - contents(two).keys() == {".gitattributes", "LICENSE", "onnx/model.onnx"}
    assert local_hub.broken == []


PASSING = {
    "an error of the server": (500, {}),
    "too many requests": (429, {"Retry_After": "0"}),
    "a conflict": (409, {}),
    "a gateway's time-out": (504, {}),
    "no answer": ("hang up", {}),
    "a cut": ("cut", {}),
    "a lost answer": ("lost", {}),
}


@pytest.mark.parametrize("kind, headers", PASSING.values(), ids=PASSING)
def test_what_passes_by_leaves_one_whole_commit(kind, headers, local_hub, tmp_path):
    place = folder(tmp_path / "model")
    local_hub.fault("POST .*/commit/main", kind, **headers)
    assert push(place).changed
    assert len(local_hub.repos["me/model"].commits) == 2  # with the first, which makes the repository
    assert contents(place).items() <= local_hub.files("me/model").items()


def test_a_failed_push_says_what_is_there_and_goes_on(local_hub, tmp_path):
    place = folder(tmp_path / "model", shards=3)
    local_hub.fault("PUT /lfs", 403, skip=1, times=9)  # an address that has expired
    with pytest.raises(PushError) as failed:
        push(place)
    assert "me/model (main) failed: status 403" in str(failed.value)
    assert "1 of 3 weight files (2.03 KB) are uploaded and will not be again. 'the same command' goes on" in str(
        failed.value
    )
    assert failed.value.exit_code == 1
    assert set(local_hub.files("me/model")) == {".gitattributes"}
    local_hub.faults.clear()
    push(place)
    assert len(local_hub.uploads) == 3  # none twice
    assert contents(place).items() <= local_hub.files("me/model").items()


def test_a_cut_in_the_middle_of_an_upload_is_sent_again_in_parts_too(local_hub, tmp_path):
    local_hub.part_bytes = 900
    local_hub.fault("PUT /lfs/.*/2", "cut")
    place = folder(tmp_path / "model")
    push(place)
    assert contents(place).items() <= local_hub.files("me/model").items()


def test_somebody_elses_commit_is_not_overwritten_unseen(local_hub, tmp_path):
    push(folder(tmp_path / "one"))
    two = folder(tmp_path / "two", "two")
    local_hub.before_commit = lambda: local_hub.commit("me/model", {"notes.md": b"theirs"})
    with pytest.raises(PushError, match=r"somebody else has committed to me/model \(main\) meanwhile"):
        push(two)
    assert local_hub.files("me/model")["model.safetensors"] == contents(tmp_path / "one")["model.safetensors"]
    push(two)
    assert local_hub.files("me/model")["notes.md"] == b"theirs"


def test_a_pull_request_leaves_the_branch_alone(local_hub, tmp_path, monkeypatch):
    local_hub.create("other/theirs")
    before = local_hub.files("other/theirs")
    place = folder(tmp_path / "model")
    assert push(place, "other/theirs", create_pr=True).url == f"{local_hub.url}/other/theirs/discussions/1"
    assert local_hub.files("other/theirs") == before
    assert contents(place).items() <= local_hub.files("other/theirs", "refs/pr/1").items()
    local_hub.fault("POST .*/commit/main", "lost")
    with pytest.raises(PushError, match="may be open or not; look at .*/other/theirs/discussions"):
        push(place, "other/theirs", create_pr=True)


def test_branch_tag_and_collection_by_request(local_hub, tmp_path):
    place = folder(tmp_path / "model")
    settings = {"private": True, "revision": "w4a16", "tag": "v1.0", "collection": "Small models"}
    local_hub.fault("POST .*/tag/", 403)
    with pytest.raises(PushError, match=r"the files are on the Hub \(.*\), and the tag 'v1.0' is not: status 403"):
        push(place, **settings)
    done = push(place, **settings)  # goes on
    repo = local_hub.repos["me/model"]
    assert repo.private
    assert repo.tags == {"v1.0": done.commit} == {"v1.0": repo.branches["w4a16"]}
    assert set(local_hub.files("me/model")) == {".gitattributes"}
    assert [held["items"] for held in local_hub.collections.values()] == [["me/model"]]
    push(place, **settings)
    shutil.rmtree(place)
    local_hub.requests.clear()
    with pytest.raises(CompressionError, match="tag 'v1.0' of me/model names commit .* already"):
        push(folder(place, "two"), **settings)
    assert all(request.startswith("GET") for request in local_hub.requests)


def test_a_card_that_the_hub_refuses_is_refused_before_the_upload(local_hub, tmp_path):
    place = folder(tmp_path / "model")
    (place / "README.md").write_text("---\nbase_model: ./out/dense\n---\n# A model\n")
    with pytest.raises(
        CompressionError, match=r'README.md: the Hub does not take its front matter \(.*"./out/dense" is not'
    ):
        push(place)
    assert local_hub.repos == {}


def test_no_token_reaches_log_or_refusal(local_hub, tmp_path, caplog):
    from tests.local_hub import TOKEN

    local_hub.fault("POST .*/commit/main", 500, times=9)
    with caplog.at_level(logging.DEBUG), pytest.raises(PushError) as failed:
        push(folder(tmp_path / "model"))
    assert TOKEN not in caplog.text + str(failed.value)


def test_the_hub_of_the_tests_sees_a_config_without_its_weights_and_two_versions_at_once(local_hub, tmp_path):
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two", "two", shards=2)
    api = patient().api
    api.create_repo("me/model")
    for place, names in ((one, ["config.json", "model.safetensors"]), (two, sorted(contents(two)))):
        for name in names:  # as a program does that uploads file by file
            api.upload_file(path_or_fileobj=place / name, path_in_repo=name, repo_id="me/model")
    found = [sentence for _, sentence in local_hub.broken]
    assert found[0] == "a config without ['model.safetensors']"
    assert any(sentence.startswith("weights of two versions") for sentence in found[1:])


def test_a_card_in_another_encoding_is_refused_before_anything_is_uploaded(local_hub, tmp_path):
    place = folder(tmp_path / "model")
    (place / "README.md").write_bytes("# Modèle\n".encode("latin-1"))
    with pytest.raises(CompressionError, match="README.md is not UTF-8 text, .*; save it so"):
        push(place)
    assert local_hub.repos == {}


def test_front_matter_that_is_no_yaml_is_the_cards_fault_and_not_the_hubs(local_hub, tmp_path):
    place = folder(tmp_path / "model")
    (place / "README.md").write_text("---\nlicense: [\n---\n# x\n")
    with pytest.raises(CompressionError, match=r"^README.md: its front matter is not valid YAML \(.*\); mend it"):
        push(place)
    assert local_hub.repos == {}
