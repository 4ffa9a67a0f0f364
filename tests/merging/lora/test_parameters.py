"""Adapters on the parameters of experts: what PEFT's merge gives, split on disk or packed."""

import json

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.lora.combine import merge_adapters
from tests.merging.adapters import make_adapter, merged_by_peft, save

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
EXPERTS = {"num_experts_per_tok": 2, "head_dim": 8}


def qwen3_moe():
    """Experts (E, O, I), one by one on disk; gate_up_proj is (4, 32, 32), so that its axes cannot be told apart by size."""
    config = t.Qwen3MoeConfig(intermediate_size=48, num_experts=4, moe_intermediate_size=16, **SMALL, **EXPERTS)
    return t.Qwen3MoeForCausalLM(config)


def gpt_oss():
    """Experts (E, I, O), packed on disk."""
    return t.GptOssForCausalLM(t.GptOssConfig(intermediate_size=16, num_local_experts=4, **SMALL, **EXPERTS))


BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
CASES = {
    "both parameters of split experts": (qwen3_moe, {"target_parameters": BOTH, "target_modules": ["q_proj"]}),
    "one parameter": (qwen3_moe, {"target_parameters": ["experts.down_proj"], "target_modules": []}),
    "packed and transposed": (gpt_oss, {"target_parameters": BOTH, "target_modules": ["q_proj"]}),
    "a name without its module": (qwen3_moe, {"target_parameters": ["gate_up_proj", "down_proj"], "target_modules": []}),
    "a matrix": (qwen3_moe, {"target_parameters": ["mlp.gate.weight"], "target_modules": ["q_proj"]}),
    "its own rank and scale": (
        qwen3_moe,
        {"target_parameters": BOTH, "target_modules": ["q_proj"], "rank_pattern": {"experts.down_proj": 2},
         "alpha_pattern": {"experts.gate_up_proj": 3}, "use_rslora": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_result_is_the_one_peft_merges(name, tmp_path):
    build, settings = CASES[name]
    model = build()
    base = save(model, tmp_path / "base")
    adapter = make_adapter(model, tmp_path / "adapter", **settings)
    expected = merged_by_peft((type(model), base), [adapter], tmp_path / "merged")
    result = apply_adapters(base, [adapter], tmp_path / "out")
    got, before = open_source(tmp_path / "out", "out"), open_source(base, "base")
    assert got.infos == expected.infos
    changed = []
    for tensor in got.infos:
        # fp32 sums of products around 0.1, in another order
        torch.testing.assert_close(got.read(tensor), expected.read(tensor), rtol=1e-5, atol=1e-7)
        changed += [tensor] if not torch.equal(got.read(tensor), before.read(tensor)) else []
    assert tuple(changed) == result.changed


def test_adapters_that_do_not_fit_are_refused(tmp_path):
    model = qwen3_moe()
    base = save(model, tmp_path / "base")
    adapter = make_adapter(model, tmp_path / "adapter", target_parameters=BOTH, target_modules=["q_proj"])
    with pytest.raises(CompressionError, match=r"such an adapter is not added to others without its base"):
        merge_adapters([adapter, adapter], tmp_path / "both")
    file, settings = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    tensors = load_file(file)
    stem = "base_model.model.model.layers.0.mlp.experts"
    without = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{stem}.base_layer.")}
    for changed, sentence in (
        (without, r"experts has 2 parameters that target_parameters names, and the adapter has factors for 1"),
        (
            {**tensors, f"{stem}.lora_A.weight": torch.zeros(16, 8)},
            r"experts.down_proj has A \[16, 8\] and B \[32, 16\], and",
        ),
    ):
        save_file(changed, file)
        with pytest.raises(CompressionError, match=sentence):
            apply_adapters(base, [adapter], tmp_path / "out")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "target_parameters": 5}))
    with pytest.raises(CompressionError, match="target_parameters=5 is not a list of names"):
        apply_adapters(base, [adapter], tmp_path / "out")
