"""What is on disk after each save."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_compress import NM, CompressionError, Constant, Distillation, ForwardKL, ModelTeacher, Pruning, __version__
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.pruning.masks import Masks
from hf_compress.training.sidecar import read_sidecar
from tests.tiny import tiny_llama
from tests.training.runs import distillation, everything, llama_trainer, pruning, weights


def checkpoints(folder):
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def test_pruned_weights_are_exactly_zero_in_every_checkpoint(tmp_path):
    trainer = llama_trainer(tmp_path)
    trainer.train()
    found = checkpoints(tmp_path)
    assert [path.name for path in found] == ["checkpoint-3", "checkpoint-6", "checkpoint-9", "checkpoint-12"]
    schedule = trainer.pruning.schedule
    for path in found:
        step = int(path.name.split("-")[1])
        wanted = schedule.sparsity(step, 12)
        stored = load_file(path / "model.safetensors")
        for name in Masks(trainer.model, trainer.pruning).modules:
            tensor = stored[f"{name}.weight"]
            assert int((tensor == 0).sum()) == round(wanted * tensor.numel()), (path.name, name)


@pytest.mark.parametrize("changes", [{"optim": "sgd"}, {"optim": "adafactor"}, {"weight_decay": 0.1}, {"bf16": True}])
def test_zeros_stay_under_other_optimizers_and_mixed_precision(changes, tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning()}, **changes)
    trainer.train()
    assert trainer.finalize() is trainer.model
    for module in Masks(trainer.model, trainer.pruning).modules.values():
        assert int((module.weight == 0).sum()) == module.weight.numel() // 2


def test_two_four_pattern_survives_training(tmp_path):
    job = Pruning(pattern=NM(n=2, m=4), schedule=Constant(final=0.5, begin=2, end=2))
    trainer = llama_trainer(tmp_path, {"pruning": job})
    trainer.train()
    for module in Masks(trainer.model, job).modules.values():
        assert ((module.weight != 0).unflatten(-1, (-1, 4)).sum(-1) <= 2).all()


def test_checkpoint_has_exactly_the_names_of_the_plain_model(tmp_path):
    """No masks, observers, scales or teacher: stock transformers loads it as an ordinary model."""
    trainer = llama_trainer(tmp_path)
    trainer.train()
    plain = llama_trainer(tmp_path / "plain", {})
    assert set(trainer.model.state_dict()) == set(plain.model.state_dict())
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-12", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, tensor in weights(trainer.model).items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_teacher_is_in_no_state_dict_optimizer_or_file(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": distillation()})
    trainer.train()
    teacher = {id(parameter) for parameter in trainer._own_loss.distillation.teacher.model.parameters()}
    assert teacher
    assert not teacher & {id(parameter) for parameter in trainer.model.parameters()}
    assert not teacher & {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    size = sum(p.numel() for p in trainer.model.parameters())
    stored = load_file(tmp_path / "checkpoint-12" / "model.safetensors")
    assert sum(tensor.numel() for tensor in stored.values()) <= size
    assert all(not p.requires_grad for p in trainer._own_loss.distillation.teacher.model.parameters())
    assert not trainer._own_loss.distillation.teacher.model.training


def test_teacher_keeps_its_weights_while_the_student_trains(tmp_path):
    trainer = llama_trainer(tmp_path)
    before = weights(trainer._own_loss.distillation.teacher.model)
    trainer.train()
    after = weights(trainer._own_loss.distillation.teacher.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights(trainer.model).items())


def test_sidecar_says_what_was_done_and_how_far(tmp_path):
    llama_trainer(tmp_path, everything()).train()
    sidecar = json.loads((tmp_path / "checkpoint-6" / "compression.json").read_text())
    assert sidecar["kind"] == "checkpoint" and sidecar["versions"]["hf_compress"] == __version__
    assert sidecar["step"] == 6 and sidecar["max_steps"] == 12
    assert sidecar["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert sidecar["recipe"]["pruning"]["schedule"]["final"] == 0.5
    assert sidecar["recipe"]["quantization"]["scheme"]["name"] == "W4A16"
    assert sidecar["recipe"]["distillation"]["losses"][0]["loss"]["temperature"] == 2.0


def test_a_token_of_the_hub_is_in_no_file_and_still_there_to_push_with(tmp_path):
    secret = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
    trainer = llama_trainer(tmp_path, hub_token=secret, max_steps=3)
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    trainer.create_model_card()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"training_args.bin", "compression.json", "README.md"} <= {path.name for path in files}
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert trainer.args.hub_token == secret
    stored = torch.load(tmp_path / "checkpoint-3" / "training_args.bin", weights_only=False)
    assert stored.hub_token is None and stored.learning_rate == trainer.args.learning_rate


def taught_by(folder):
    teacher = ModelTeacher(model=str(folder))
    return {"distillation": Distillation(teacher=teacher, losses=[(0.5, ForwardKL())])}


def test_a_sidecar_names_a_teacher_and_not_where_it_lies(tmp_path):
    tiny_llama(1).save_pretrained(tmp_path / "home" / "teacher")
    llama_trainer(tmp_path / "run", taught_by(tmp_path / "home" / "teacher"), max_steps=3).train()
    text = (tmp_path / "run" / "checkpoint-3" / "compression.json").read_text(encoding="utf-8")
    assert json.loads(text)["recipe"]["distillation"]["teacher"]["model"] == "./teacher" and str(tmp_path) not in text
    # The folder may move; another teacher is another run.
    (tmp_path / "home").rename(tmp_path / "moved")
    moved = taught_by(tmp_path / "moved" / "teacher")
    llama_trainer(tmp_path / "run", moved, max_steps=4).train(resume_from_checkpoint=True)
    tiny_llama(1).save_pretrained(tmp_path / "other")
    with pytest.raises(CompressionError, match="./teacher.* and this run has .*./other"):
        llama_trainer(tmp_path / "run", taught_by(tmp_path / "other"), max_steps=4).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_sidecar_is_a_sentence(content, tmp_path):
    (tmp_path / "compression.json").write_bytes(content)
    with pytest.raises(CompressionError, match="compression.json is damaged .*; resume from an earlier checkpoint"):
        read_sidecar(tmp_path)


def test_a_result_is_not_a_checkpoint_to_go_on_from(tmp_path):
    llama_trainer(tmp_path, max_steps=3).train()
    place = tmp_path / "checkpoint-3"
    Manifest(kind="train", recipe=Manifest.read(place).recipe).write(place)
    with pytest.raises(CompressionError, match="checkpoint-3 is the result of a train job and not a checkpoint"):
        llama_trainer(tmp_path, max_steps=6).train(resume_from_checkpoint=str(place))
