"""An adapter is trained for a pruned model, and merged into what stays of it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hf_compress import Constant, Pruning, prune
from hf_compress.merging.lora.apply import apply_adapters
from tests.tiny import tiny_llama
from tests.training.runs import distillation, llama_trainer


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
def test_the_base_keeps_its_zeros_and_the_merge_sets_them_again(tmp_path):
    base = tiny_llama(seed=0)
    prune(base, Pruning(schedule=Constant(final=0.5)))
    base.save_pretrained(tmp_path / "base")
    zeros = {name: weight == 0 for name, weight in base.state_dict().items() if "proj" in name}
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    trainer = llama_trainer(tmp_path, {"distillation": distillation()}, wrapped, save_strategy="no")
    trainer.train()
    trained = {
        name.replace("base_model.model.", "").replace("base_layer.", ""): w for name, w in wrapped.state_dict().items()
    }
    assert all(torch.equal(trained[name] == 0, zero) for name, zero in zeros.items())
    wrapped.save_pretrained(tmp_path / "adapter")
    apply_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "merged", keep_zeros=True)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    theirs = wrapped.merge_and_unload().state_dict()
    filled = "model.layers.0.mlp.up_proj.weight"
    assert bool(theirs[filled][zeros[filled]].any())  # what a merge by PEFT does to them
    for name, zero in zeros.items():
        torch.testing.assert_close(ours[name], theirs[name] * ~zero, atol=1e-6, rtol=0)  # products in another order
        assert bool((ours[name][zero] == 0).all())
