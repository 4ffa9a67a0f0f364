"""Parameters and the tensors that hold them, against what save_pretrained writes."""

import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.names import ModelNames, build_empty
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.source import AdaptedSource
from tests import tiny
from tests.merging.adapters import make_adapter, merged_by_peft, save
from tests.merging.lora.test_source import write


def names_of(folder):
    source = open_source(folder, "model")
    return source, ModelNames(source.config, source.infos, source.place)


@pytest.mark.parametrize("build", [tiny.tiny_llama, tiny.tiny_gpt2, tiny.tiny_vit, tiny.tiny_bert, tiny.tiny_t5])
def test_every_parameter_is_found_where_its_values_are(build, tmp_path):
    model = build()
    source, names = names_of(save(model, tmp_path / "model"))
    for parameter, value in model.state_dict().items():
        owner = names.tied_group(parameter)
        stored = next(names.tensor_of[item] for item in owner if item in names.tensor_of)
        assert torch.equal(source.read(stored), value), parameter


def tiny_moe():
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "moe_intermediate_size": 8,
        "num_hidden_layers": 2,
        "vocab_size": 32,
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, **heads, num_experts=4, num_experts_per_tok=2))


def test_a_change_of_joined_experts_goes_to_each_expert(tmp_path):
    model = tiny_moe()
    source, names = names_of(save(model, tmp_path / "model"))
    parameter = "model.layers.1.mlp.experts.gate_up_proj"
    change = torch.randn(model.get_parameter(parameter).shape, generator=torch.Generator().manual_seed(1))
    parts = names.rearrange(parameter, change)
    with torch.no_grad():
        model.get_parameter(parameter).add_(change)
    after = open_source(save(model, tmp_path / "after"), "after")
    for name in source.infos:
        assert torch.equal(after.read(name), source.read(name) + parts.get(name, 0)), name
    assert len(parts) == 8  # gate and up of four experts


def test_a_mixture_of_experts_takes_adapters_on_attention_and_on_single_experts(tmp_path):
    model = tiny_moe()
    base = save(model, tmp_path / "base")
    adapter = make_adapter(model, tmp_path / "adapter", target_modules=["q_proj", "o_proj"])
    expected = merged_by_peft((type(model), base), [adapter], tmp_path / "merged")
    source = AdaptedSource(open_source(base, "base"), Adapter(adapter))
    for name in source.infos:
        assert torch.equal(source.read(name), expected.read(name)), name
    module = "model.layers.0.mlp.experts.3.down_proj"  # as adapters trained before the experts were joined name it
    factors = {f"{module}.lora_A.weight": torch.ones(4, 8), f"{module}.lora_B.weight": torch.ones(16, 4)}
    single = AdaptedSource(open_source(base, "base"), Adapter(write(tmp_path / "single", factors)))
    assert single.changed() == [f"{module}.weight"]
    assert torch.equal(single.read(f"{module}.weight"), single.source.read(f"{module}.weight") + 4)


def test_a_config_its_class_refuses_is_named(tmp_path):
    with pytest.raises(CompressionError, match="LlamaForCausalLM cannot be built from config.json"):
        build_empty({"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_attention_heads": 0}, "here")
    assert build_empty({"architectures": ["Unknown"]}, "here") is None
