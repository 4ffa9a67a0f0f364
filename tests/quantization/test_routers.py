"""What chooses the experts stays dense, unless it is asked for by name."""

import json

import pytest
import torch
import transformers as t

from hf_compress import CompressionError, Quantization, quantize, save_compressed
from hf_compress._modules.routers import ROUTES
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.reach import left_dense
from tests.tiny import tiny_llama

TEXT = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
GROUPED = {**TEXT, "num_key_value_heads": 2}
TINY = {"moe_intermediate_size": 16, "num_experts_per_tok": 2, "num_experts": 4}
MODELS = {
    "afmoe": lambda: t.AfmoeForCausalLM(t.AfmoeConfig(**GROUPED, **TINY, head_dim=8, num_dense_layers=0)),
    "qwen2_moe": lambda: t.Qwen2MoeForCausalLM(t.Qwen2MoeConfig(**GROUPED, **TINY, shared_expert_intermediate_size=32)),
    "jetmoe": lambda: t.JetMoeForCausalLM(t.JetMoeConfig(**TEXT, kv_channels=8, num_local_experts=4)),
    "hunyuan": lambda: t.HunYuanMoEV1ForCausalLM(t.HunYuanMoEV1Config(**GROUPED, head_dim=8, num_experts=4, moe_topk=2)),
    "gemma4": lambda: t.Gemma4ForCausalLM(
        t.Gemma4TextConfig(
            **GROUPED,
            head_dim=8,
            global_head_dim=8,
            enable_moe_block=True,
            num_experts=4,
            top_k_experts=2,
            moe_intermediate_size=16,
            hidden_size_per_layer_input=0,
        )
    ),
}
ROUTERS = {
    "afmoe": {"model.layers.0.mlp.router.gate"},
    "qwen2_moe": {"model.layers.0.mlp.shared_expert_gate"},
    "jetmoe": {"model.layers.0.mlp.router.layer", "model.layers.0.self_attention.experts.router.layer"},
    "hunyuan": {"model.layers.0.mlp.gate.wg"},
    "gemma4": {"model.layers.0.router.proj"},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_router_that_is_a_plain_linear_stays_dense_and_is_named(name):
    model = MODELS[name]()
    prepared = prepare(model, Quantization(scheme="W8A8", ignore=("lm_head",)))
    assert {module for module, reason in left_dense(model).items() if reason == ROUTES} == ROUTERS[name]
    assert prepared and not ROUTERS[name] & set(prepared)


def test_the_checkpoint_says_so_and_loads_with_the_numbers_of_training(tmp_path):
    model, trained = (MODELS["qwen2_moe"]().eval() for _ in range(2))
    trained.load_state_dict(model.state_dict())
    prepare(trained, Quantization(scheme="W8A8"))
    quantize(model, Quantization(scheme="W8A8"))
    save_compressed(model, tmp_path / "model")
    written = json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
    assert ROUTERS["qwen2_moe"] <= set(written["ignore"])
    loaded = type(model).from_pretrained(tmp_path / "model").eval()
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, trained(ids).logits)


def test_a_router_that_is_named_is_quantized():
    assert "model.layers.0.mlp.router.gate" in prepare(
        MODELS["afmoe"](), Quantization(scheme="W8A8", targets=("Linear", r"re:.*router\.gate"))
    )


def test_a_model_of_which_only_routers_are_left_is_refused():
    ignore = ("re:.*(lm_head|_proj)",)
    with pytest.raises(CompressionError, match=r"shared_expert_gate cannot be compressed: it is a router"):
        prepare(MODELS["qwen2_moe"](), Quantization(scheme="W8A8", ignore=ignore))


def test_gates_of_an_mlp_are_quantized():
    model = tiny_llama()
    prepared = prepare(model, Quantization(scheme="W8A8"))
    assert sum(name.endswith("gate_proj") for name in prepared) == model.config.num_hidden_layers
    assert not left_dense(model)
