"""Configs, tokenizers and weights as a recipe asks for them."""

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from hf_compress._modules.types import cast_weights
from hf_compress.inputs.models import load_config, load_model, new_weights, num_positions, skeleton
from hf_compress.inputs.sections import FreshModel
from tests.small import LLAMA, write_model
from tests.tiny import tiny_gpt2, tiny_llama, tiny_vit

FRESH = FreshModel(config=LLAMA)


def test_a_fresh_config_is_the_recipes_and_what_the_data_decides():
    config = load_config(FRESH, {"vocab_size": 300})
    expected = LlamaConfig(**{key: value for key, value in LLAMA.items() if key != "model_type"}, vocab_size=300)
    assert config.to_dict() == expected.to_dict()


def test_fresh_weights_follow_from_the_seed_and_are_in_32_bits():
    config = load_config(FRESH, {"vocab_size": 300, "dtype": "bfloat16"})
    first, again, other = (load_model(AutoModelForCausalLM, FRESH, config, seed) for seed in (1, 1, 2))
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs) and not all(torch.equal(a, c) for a, _, c in pairs)
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}


def test_a_cast_of_one_model_does_not_round_the_weights_of_the_next():
    config = load_config(FRESH, {"vocab_size": 300})
    first = load_model(AutoModelForCausalLM, FRESH, config, 1)
    expected = [parameter.clone() for parameter in first.parameters()]
    before = config.to_dict()
    cast_weights(first, "bfloat16")
    again = load_model(AutoModelForCausalLM, FRESH, config, 1)
    assert all(torch.equal(a, b) for a, b in zip(expected, again.parameters(), strict=True))
    assert config.to_dict() == before


def test_new_weights_are_those_the_checkpoint_does_not_have(tmp_path):
    folder = str(write_model(tmp_path / "model"))
    assert new_weights(AutoModelForCausalLM, folder, "model") == []
    assert new_weights(AutoModelForSequenceClassification, folder, "model") == ["score.weight"]


def test_a_skeleton_has_the_shapes_and_no_memory():
    model = skeleton(AutoModelForCausalLM, tiny_llama().config)
    assert {name: p.shape for name, p in model.named_parameters()} == {
        n: p.shape for n, p in tiny_llama().named_parameters()
    }
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_positions_are_counted_as_the_architecture_uses_them():
    assert num_positions(tiny_llama()) == 64 == num_positions(tiny_gpt2())
    assert num_positions(tiny_vit()) is None
