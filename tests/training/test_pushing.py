"""A Trainer's pushes against a local Hub: model, manifest and card of one step in one commit."""

import json
import logging
import time

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_compress._hub.client import PushError
from tests.tiny import tiny_tokenizer
from tests.training.runs import assert_equal_bits, llama_trainer, pruning, quantization
from tests.training.test_saving import logits

TOKEN_ARGUMENT = "hf_" + "a" * 30


def pushing(folder, jobs=None, **changes):
    jobs = {"pruning": pruning()} if jobs is None else jobs
    return llama_trainer(folder, jobs, **{"push_to_hub": True, "hub_model_id": "me/x", "max_steps": 6, **changes})


def versions(hub, name="me/x"):
    """Title and files of every commit but the first, in order."""
    commits = list(hub.repos[name].commits.values())[1:]
    return [(one.title, {path: blob.content for path, blob in one.tree.items()}) for one in commits]


def test_every_checkpoint_is_one_commit_of_weights_manifest_and_card(local_hub, tmp_path):
    trainer = pushing(tmp_path / "run", save_total_limit=1, hub_always_push=True, hub_token=TOKEN_ARGUMENT)
    trainer.train()
    pushed = versions(local_hub)
    assert [title for title, _ in pushed] == ["Training in progress, step 3", "Training in progress, step 6"]
    for step, (_, files) in zip((3, 6), pushed, strict=True):
        assert json.loads(files["compression.json"])["step"] == step
        assert f"those of step {step} of 6, in training" in files["README.md"].decode()
        assert set(files) - {".gitattributes"} == {
            *("README.md", "compression.json", "config.json", "generation_config.json", "model.safetensors")
        }
        assert TOKEN_ARGUMENT.encode() not in b"".join(files.values())
    assert pushed[1][1]["model.safetensors"] == (tmp_path / "run" / "checkpoint-6" / "model.safetensors").read_bytes()
    assert pushed[0][1]["model.safetensors"] != pushed[1][1]["model.safetensors"]
    assert not list((tmp_path / "run").glob(".push-*")) and local_hub.broken == []
    assert "magnitude" in ModelCard(pushed[1][1]["README.md"].decode()).data.tags


def test_the_finalized_model_takes_the_place_of_the_dense_checkpoint(local_hub, tmp_path):
    trainer = pushing(tmp_path / "run", {"quantization": quantization()}, max_steps=3)
    trainer.processing_class = tiny_tokenizer()
    trainer.train()
    expected = logits(trainer.finalize(dtype="bfloat16"))
    (tmp_path / "run" / "averaged" / "ema").mkdir(parents=True)  # as the callback leaves it
    (tmp_path / "run" / "averaged" / "ema" / "model.safetensors").write_bytes(b"averages")
    done = trainer.push_to_hub()
    (_, dense), (title, files) = versions(local_hub)
    assert (title, done.commit) == ("End of training", local_hub.repos["me/x"].branches["main"])
    assert "quantization_config" in json.loads(files["config.json"]) and "quantization_config" not in json.loads(
        dense["config.json"]
    )
    assert "The weights are the compressed model's." in files["README.md"].decode() and "tokenizer.json" in files
    assert files.pop("averaged/ema/model.safetensors") == b"averages"
    (tmp_path / "there").mkdir()
    for path, content in files.items():
        (tmp_path / "there" / path).write_bytes(content)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "there")), expected)
    trainer.save_model(tmp_path / "here")
    assert_equal_bits(*(load_file(tmp_path / name / "model.safetensors") for name in ("here", "there")))


def test_a_push_that_fails_is_said_and_the_training_goes_on(local_hub, tmp_path, caplog):
    trainer = pushing(tmp_path / "run", hub_always_push=True, save_steps=6)
    local_hub.fault("POST .*/commit/main", 413, times=2)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.state.global_step == 6 and versions(local_hub) == []
    # A thread says it, which may come to it after the one that waited for the push has gone on.
    for _ in range(100):
        said = [record.message for record in caplog.records if "in the background failed" in record.message]
        if said:
            break
        time.sleep(0.1)
    (message,) = said
    assert "the training goes on: the push to me/x (main) failed: status 413 (out of order). On the Hub" in message
    with pytest.raises(PushError, match=r"1 of 1 weight files .* 'trainer.push_to_hub\(\)' goes on"):
        trainer.push_to_hub()
    assert trainer.push_to_hub().changed


def test_a_push_that_is_left_out_is_said(local_hub, tmp_path, caplog):
    trainer = pushing(tmp_path / "run", save_steps=100)
    trainer.train()

    class Running:
        def is_done(self):
            return False

        def wait_until_done(self):
            pass

    trainer.push_in_progress = Running()
    before = versions(local_hub)
    with caplog.at_level(logging.WARNING):
        trainer._push_from_checkpoint(str(tmp_path / "run" / "checkpoint-6"))
    assert "step 6 is not pushed, because an earlier push is still running" in caplog.text
    assert versions(local_hub) == before


def test_the_state_to_go_on_from_is_pushed_beside_where_it_is_asked_for(local_hub, tmp_path):
    trainer = pushing(
        tmp_path / "run", hub_strategy="checkpoint", hub_revision="dev", save_steps=6, hub_token=TOKEN_ARGUMENT
    )
    trainer.train()
    held = local_hub.files("me/x", "dev")
    assert held["last-checkpoint/optimizer.pt"] and "optimizer.pt" not in held
    assert TOKEN_ARGUMENT.encode() not in b"".join(held.values())
    assert set(local_hub.files("me/x")) == {".gitattributes"}
