"""Two adapters of one base."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from tests.tiny import tiny_llama
from tests.undrawn import undrawn  # noqa: F401 (for every test of the folder)


@pytest.fixture
def folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        get_peft_model(LlamaForCausalLM.from_pretrained(tmp_path / "base"), settings).save_pretrained(tmp_path / name)
    return tmp_path
