"""Configs, tokenizers and weights as a recipe asks for them."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress._problems import RecipeError
from hf_compress.inputs.models import (
    check_keys,
    load_config,
    load_image_processor,
    load_model,
    load_tokenizer,
    new_weights,
    num_positions,
    skeleton,
    train_tokenizer,
)
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from tests.small import LLAMA, text_rows, write_model
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


def test_every_wrong_key_is_named_at_once():
    with pytest.raises(RecipeError) as refusal:
        check_keys(FreshModel(config={**LLAMA, "hiden_size": 1, "vocab_size": 9, "heads": 2}), ["vocab_size"])
    assert [problem.path for problem in refusal.value.problems] == [
        "model.config.hiden_size",
        "model.config.heads",
        "model.config.vocab_size",
    ]


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


def test_a_trained_tokenizer_reads_any_text_and_is_the_same_every_time():
    texts = [row["text"] for row in text_rows()]
    first, again = (train_tokenizer(FreshTokenizer(vocab_size=300), texts) for _ in range(2))
    assert len(first) == 300 and first.get_vocab() == again.get_vocab()
    for text in (texts[0], "größe ✓\n\ttab", " leading"):
        assert first.decode(first(text)["input_ids"]) == text
    assert first.eos_token_id == first.pad_token_id == 0


def test_the_image_processor_of_fresh_weights_makes_the_models_size():
    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), tiny_vit().config)
    assert processor(torch.zeros(3, 20, 30), return_tensors="pt")["pixel_values"].shape == (1, 3, 8, 8)
    with pytest.raises(CompressionError, match="llama has no image processor"):
        load_image_processor(FRESH, tiny_llama().config)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="tokenizer: the folder .* holds none"):
        load_tokenizer(str(write_model(tmp_path / "model", tokenizer=False)))
