"""Ensembles on a local Hub: pushed from Python in one commit, with members by reference, and other versions of them."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_compress import CompressionError, ParallelEnsemble, Quantization, Stacking, push, quantize, save_compressed
from hf_compress.quantization.schemes.presets import W8A16
from tests.ensembling.folders import saved, texts

IDS = torch.randint(4, 60, (5, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folders(tmp_path):
    return saved(*texts(), tmp_path / "members")


def test_push_to_hub_is_one_commit_and_comes_back_to_the_bit(folders, local_hub, tmp_path):
    made = ParallelEnsemble.from_members(folders, weights=[1, 2])
    made.push_to_hub("me/pair", private=True)
    assert len([one for one in local_hub.requests if "/commit/" in one]) == 1 and local_hub.broken == []
    again = AutoModelForSequenceClassification.from_pretrained("me/pair")
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    made.save_pretrained(tmp_path / "here")
    here = {str(path.relative_to(tmp_path / "here")): path.read_bytes() for path in (tmp_path / "here").rglob("*.*")}
    assert here.items() <= local_hub.files("me/pair").items()


def test_members_by_reference_are_loaded_from_their_own_commits(folders, local_hub, tmp_path):
    for number, folder in enumerate(folders):
        push(folder, f"me/model-{number}")
    made = ParallelEnsemble.from_members(["me/model-0", "me/model-1"])
    commits = [local_hub.repos[f"me/model-{number}"].at("main").oid for number in range(2)]
    made.save_pretrained(tmp_path / "out", references=True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [member["revision"] for member in config["members"]] == commits
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    other = saved(*texts(orders=("bca", "abc")), tmp_path / "other")
    push(other[0], "me/model-0")
    again = ParallelEnsemble.from_pretrained(tmp_path / "out")
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    config["members"][0]["revision"] = "0" * 40
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CompressionError, match="member 'model-0': me/model-0 cannot be loaded"):
        ParallelEnsemble.from_pretrained(tmp_path / "out")


def test_a_packed_member_of_the_hub_is_copied_as_it_lies_there(folders, local_hub, tmp_path):
    (_, packed), tokenizers = texts()
    quantize(packed, Quantization(scheme=W8A16(group_size=16)))
    push(save_compressed(packed, tmp_path / "packed", tokenizers[1]), "me/packed")
    ParallelEnsemble.from_members([folders[0], "me/packed"]).save_pretrained(tmp_path / "out")
    there = local_hub.files("me/packed")["model.safetensors"]
    assert (tmp_path / "out" / "member-1" / "model.safetensors").read_bytes() == there


def test_a_version_with_fewer_members_leaves_none_of_the_older_one(folders, local_hub, tmp_path):
    third = saved(*texts(orders=("abc", "abc")), tmp_path / "more")[0]
    ParallelEnsemble.from_members([*folders, third], names=list("abc")).save_pretrained(tmp_path / "three")
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "two")
    push(tmp_path / "three", "me/pair")
    push(tmp_path / "two", "me/pair")
    there = {path.split("/")[0] for path in local_hub.files("me/pair")}
    assert {"member-0", "member-1"} <= there and "member-2" not in there and local_hub.broken == []


def test_what_was_learned_above_the_members_goes_along(folders, local_hub, tmp_path):
    made = Stacking.from_members(folders, weight=torch.linspace(-1, 1, 18).view(3, 6), bias=torch.ones(3))
    made.push_to_hub("me/stack")
    again = AutoModelForSequenceClassification.from_pretrained("me/stack")
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    made.save_pretrained(tmp_path / "out")
    push(tmp_path / "out", "me/pushed")
    assert local_hub.files("me/pushed")["ensemble.safetensors"] == local_hub.files("me/stack")["ensemble.safetensors"]
    assert torch.equal(Stacking.from_pretrained("me/pushed")(IDS).logits, made(IDS).logits)


def test_a_member_without_weights_is_not_pushed(folders, local_hub, tmp_path):
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "two")
    (tmp_path / "two" / "member-1" / "model.safetensors").unlink()
    with pytest.raises(CompressionError, match="member-1.*no weights"):
        push(tmp_path / "two", "me/pair")
    assert "me/pair" not in local_hub.repos
