"""What a trainer writes is what it has, whenever it is asked, and a finished model stays finished."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError, CompressionTrainer, Quantization, save_compressed
from hf_compress.training import finalize as finalize_module
from tests.tiny import tiny_llama
from tests.training.runs import arguments, assert_equal_bits, llama_trainer, pruning, quantization, text_rows, weights
from tests.training.test_resume import StopAt

LAYER = "model.layers.0.mlp.up_proj.weight"
INPUTS = torch.arange(3, 19).view(2, 8)


def logits(model):
    with torch.no_grad():
        return model.eval()(INPUTS).logits


def trained(folder, jobs=None, **changes):
    trainer = llama_trainer(
        folder / "run", {"quantization": quantization()} if jobs is None else jobs, max_steps=3, **changes
    )
    trainer.train()
    return trainer


def test_the_trainer_saves_the_compressed_checkpoint(tmp_path):
    trainer = trained(tmp_path, save_strategy="no")
    expected = logits(trainer.finalize(dtype="bfloat16"))
    save_compressed(trainer.model, tmp_path / "ours")
    trainer.save_model(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs"))
    assert_equal_bits(ours, theirs)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config == json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert json.loads((tmp_path / "theirs" / "compression.json").read_text())["recipe"]["quantization"]
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")), expected)


def test_what_save_model_wrote_is_loaded_back_and_removed_where_it_is_wrong(tmp_path, monkeypatch):
    trainer = trained(tmp_path, save_strategy="no")
    trainer.finalize()
    written = type(trainer.model).save_pretrained

    def damaged(self, folder, **kwargs):
        written(self, folder, **kwargs)
        tensors = load_file(f"{folder}/model.safetensors")
        tensors["model.norm.weight"][0] += 1
        save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(type(trainer.model), "save_pretrained", damaged)
    with pytest.raises(CompressionError, match=r"model\.norm\.weight in model\.safetensors has other values"):
        trainer.save_model(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(
    "jobs", [{"quantization": quantization()}, {"pruning": pruning(end="90%")}], ids=["int4", "pruned"]
)
def test_before_finalize_the_log_says_that_the_weights_are_dense(jobs, tmp_path, caplog):
    trainer = trained(tmp_path, jobs, save_steps=1, callbacks=[StopAt(2)])
    messages = [record.message for record in caplog.records if "dense weights" in record.message]
    assert not messages and (tmp_path / "run" / "checkpoint-2").exists()
    trainer.save_model(tmp_path / "early")
    (message,) = [record.message for record in caplog.records if "dense weights" in record.message]
    assert message.startswith(f"{tmp_path / 'early'} holds the dense weights of step 2 of 3: call finalize()")


def test_pruned_weights_are_what_they_should_be_once_the_schedule_ended(tmp_path, caplog):
    trainer = trained(tmp_path, {"pruning": pruning()}, save_strategy="no")
    trainer.save_model(tmp_path / "out")
    assert not [record for record in caplog.records if "dense weights" in record.message]


def test_pushes_during_training_are_said_to_be_dense(tmp_path, caplog):
    trainer = llama_trainer(tmp_path, {"quantization": quantization()})
    trainer.args.push_to_hub = True
    with caplog.at_level(logging.WARNING):
        finalize_module.before_training(trainer)
        trainer.args.hub_strategy = finalize_module.HubStrategy.END
        finalize_module.before_training(trainer)
    (record,) = [record for record in caplog.records if "pushes during training" in record.message]
    assert "hub_strategy=every_save" in record.message


def test_a_finalized_model_is_not_trained_on_nor_finalized_twice(tmp_path):
    trainer = trained(tmp_path, save_strategy="no")
    model = trainer.finalize()
    with pytest.raises(CompressionError, match="the model is finalized, and training it on"):
        trainer.train()
    with pytest.raises(CompressionError, match="already finalized; save it with save_compressed"):
        trainer.finalize()
    assert trainer.evaluate()["eval_loss"] > 0
    with pytest.raises(CompressionError, match="the model is finalized"):
        llama_trainer(tmp_path / "second", {"quantization": quantization()}, model=model)


def test_a_pruned_model_is_finalized_once_as_well(tmp_path):
    trainer = trained(tmp_path, {"pruning": pruning()}, save_strategy="no")
    trainer.finalize()
    with pytest.raises(CompressionError, match="already finalized"):
        trainer.finalize()
    with pytest.raises(CompressionError, match="training it on"):
        trainer.train()


def test_a_fresh_model_of_model_init_is_trained_after_finalize(tmp_path):
    trainer = CompressionTrainer(
        model_init=lambda trial: tiny_llama(),
        args=arguments(tmp_path, max_steps=3, save_strategy="no"),
        train_dataset=text_rows(),
        quantization=quantization(),
    )
    for _ in range(2):
        trainer.train()
        trainer.finalize()


def test_no_model_is_left_after_a_search(tmp_path):
    trainer = trained(tmp_path, save_strategy="no")
    trainer.model = None  # as hyperparameter_search leaves it
    with pytest.raises(CompressionError, match="hyperparameter_search gives the models of its trials away"):
        trainer.finalize()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "jobs", [{"quantization": Quantization(scheme="W8A8")}, {"pruning": pruning()}], ids=["int8", "pruned"]
)
def test_weights_that_are_no_numbers_are_refused_by_name_and_nothing_changes(jobs, value, tmp_path):
    trainer = trained(tmp_path, jobs, save_strategy="no")
    weight = dict(trainer.model.named_parameters())[LAYER]
    with torch.no_grad():
        weight[0, 0] = value
    before = weights(trainer.model)
    with pytest.raises(CompressionError, match=rf"{LAYER} holds NaN or infinity"):
        trainer.finalize(dtype="bfloat16")
    assert {name: tensor.dtype for name, tensor in before.items()} == {
        name: tensor.dtype for name, tensor in weights(trainer.model).items()
    }
    with torch.no_grad():
        weight[0, 0] = 0
    trainer.finalize(dtype="bfloat16")


def test_values_that_a_type_does_not_hold_are_refused(tmp_path):
    trainer = trained(tmp_path, save_strategy="no")
    with torch.no_grad():
        dict(trainer.model.named_parameters())["model.norm.weight"][0] = 1e5
    with pytest.raises(CompressionError, match=r"model\.norm\.weight reaches 1e\+05, and float16 ends at 6\.55e\+04"):
        trainer.finalize(dtype="float16")
    trainer.finalize(dtype="bfloat16")


@pytest.mark.parametrize("how", ["bf16_full_eval", "fp16_full_eval"])
def test_an_evaluation_in_16_bits_leaves_the_student_its_weights(how, tmp_path):
    plain, evaluated = trained(tmp_path / "a", save_strategy="no"), trained(tmp_path / "b", save_strategy="no")
    buffers = {name: buffer.clone() for name, buffer in evaluated.model.named_buffers()}
    setattr(evaluated.args, how, True)
    evaluated.evaluate()
    evaluated.predict(evaluated.eval_dataset)
    assert_equal_bits(weights(plain.model), weights(evaluated.model))
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in evaluated.model.named_buffers())
    assert evaluated.model.config.dtype == plain.model.config.dtype
    expected = logits(plain.finalize())
    assert torch.equal(logits(evaluated.finalize()), expected)
    save_compressed(evaluated.model, tmp_path / "out")
    evaluated.evaluate()
    assert torch.equal(logits(evaluated.model), expected)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), expected)


def test_a_model_that_nobody_could_save_is_refused_in_the_constructor(tmp_path):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 16)

    with pytest.raises(CompressionError, match="has no save_pretrained to do it; make it a PreTrainedModel"):
        CompressionTrainer(model=Plain(), args=arguments(tmp_path), quantization=Quantization(scheme="W8A8"))
