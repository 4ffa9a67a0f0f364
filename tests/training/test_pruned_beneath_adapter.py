"""The base beneath a LoRA adapter is pruned while the adapter trains."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hf_compress import Calibration, CompressionError, Cubic, Movement, Pruning, Wanda
from hf_compress._modules.adapters import base_modules
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, llama_trainer, pruning, weights

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it


def wrapped(**changes):
    torch.manual_seed(1)
    settings = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    return get_peft_model(tiny_llama(seed=0, **changes), settings)


def begun(folder, **changes):
    jobs = {"pruning": pruning()}
    return llama_trainer(folder, {**jobs, **changes.pop("jobs", {})}, wrapped(), **changes)


def test_masks_move_over_the_frozen_base_while_the_adapter_trains(tmp_path):
    trainer = begun(tmp_path / "run", save_strategy="no")
    before = weights(trainer.model)
    trainer.train()
    adapted = trainer.model
    after = weights(adapted)
    assert any(not torch.equal(after[name], before[name]) for name in after if "lora_B" in name)
    masks = trainer.progress.masks.keep
    assert len(masks) == 14
    base = {name: module.weight.clone() for name, module in base_modules(adapted).items() if name in masks}
    start = dict(tiny_llama(seed=0).named_modules())
    for name, keep in masks.items():
        assert torch.equal(base[name], start[name].weight * keep)
        assert (~keep).float().mean() == pytest.approx(0.5)
    merged = trainer.finalize()
    assert merged is trainer.model
    assert type(merged) is type(tiny_llama())
    for name, keep in masks.items():
        assert torch.equal(merged.get_submodule(name).weight == 0, ~keep)
    assert not torch.equal(merged.model.layers[0].mlp.up_proj.weight, base["model.layers.0.mlp.up_proj"])
    trainer.save_model(str(tmp_path / "merged"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, merged.eval()(ids).logits)


@pytest.mark.parametrize("step", [3, 9])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, step):
    jobs = {"pruning": Pruning(criterion=Wanda(), schedule=Cubic(final=0.5, begin="0%", end="50%", every=2))}
    jobs["calibration"] = Calibration(num_examples=8, batch_size=4)
    whole = begun(tmp_path, jobs=jobs)
    whole.train()
    resumed = begun(tmp_path, jobs=jobs)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert_equal_bits(weights(whole.model), weights(resumed.model))
    assert_equal_bits(weights(whole.finalize()), weights(resumed.finalize()))


def test_a_base_that_is_more_pruned_than_the_checkpoint_is_refused(tmp_path):
    trainer = begun(tmp_path)
    trainer.train()
    again = llama_trainer(tmp_path, {"pruning": pruning()}, trainer.model)
    with pytest.raises(CompressionError, match="were not in checkpoint-3.*load it again before you wrap it"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_a_checkpoint_without_the_zeros_is_refused(tmp_path):
    begun(tmp_path).train()
    (tmp_path / "checkpoint-9" / "pruning.safetensors").unlink()
    with pytest.raises(
        CompressionError, match="pruning.safetensors, which says what of the base is pruned, cannot be read"
    ):
        begun(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-9"))


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # it is what is refused
def test_an_adapter_that_could_not_be_merged_at_the_end_is_refused_at_the_beginning(tmp_path):
    tied = get_peft_model(tiny_llama(seed=0, tie_word_embeddings=True), LoraConfig(r=2, target_modules=["lm_head"]))
    with pytest.raises(CompressionError, match="hold one weight"):
        llama_trainer(tmp_path, {"pruning": pruning()}, tied)


def test_a_criterion_that_adds_up_gradients_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="frozen and has none"):
        begun(tmp_path, jobs={"pruning": Pruning(criterion=Movement(), schedule=Cubic(begin=2, end=6))})


def test_an_adapter_saved_alone_is_said(tmp_path, caplog):
    trainer = begun(tmp_path / "run", save_strategy="no")
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert "holds the adapter alone" in caplog.text
