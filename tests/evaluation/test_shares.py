"""Shares of all weights, beside those of the compressed layers."""

import pytest
from transformers import BertForMaskedLM, MixtralConfig, MixtralForCausalLM

from hf_compress import Constant, Pruning, Quantization, prune, quantize
from hf_compress._modules.types import cast_weights
from hf_compress.evaluation.shares import describe_reach, measure_shares
from tests.tiny import tiny_bert, tiny_llama

PRUNING = Pruning(schedule=Constant(final=0.5))


def mixtral():
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return MixtralForCausalLM(MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4))


def test_half_of_the_attention_of_a_mixture_is_a_twentieth_of_it():
    model = mixtral()
    prune(model, PRUNING)
    # By hand, for each of two layers: attention 3072, experts 24576, router 128; embedding and head 2048 each.
    attention, total = 2 * 3072, 2 * (3072 + 24576 + 128) + 2 * 2048
    assert measure_shares(model, PRUNING) == {
        "sparsity": 0.5,
        "zeros_share": pytest.approx(attention / 2 / total),
        "quantized_share": None,
    }
    (sentence,) = describe_reach(model, PRUNING)
    assert sentence.startswith("pruned 8 of 9 Linear, 10.3 % of the weights; left: MixtralExperts 82.4 %")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_quantized_model_says_how_much_of_it_is(dtype):
    model = cast_weights(tiny_llama(), dtype)
    prune(model, PRUNING)
    quantize(model, Quantization(scheme="W8A8"))
    # By hand, for each of two layers: attention 3072 and 3 * 32 * 64; embedding and head 2048 each.
    layers, total = 2 * (3072 + 6144), 2 * (3072 + 6144) + 2 * 2048
    shares = measure_shares(model, PRUNING)
    assert shares["quantized_share"] == pytest.approx(layers / total)
    assert shares["zeros_share"] == pytest.approx(layers / 2 / total)
    assert [sentence.split(" ")[0] for sentence in describe_reach(model, PRUNING)] == ["pruned", "quantized"]


def test_a_dense_model_has_no_shares():
    model = tiny_llama()
    assert measure_shares(model, None) == {"sparsity": None, "zeros_share": None, "quantized_share": None}
    assert describe_reach(model, None) == ()


def test_modules_that_cannot_be_compressed_are_named_with_the_reason():
    model = BertForMaskedLM(tiny_bert().config)
    prune(model, PRUNING)
    quantize(model, Quantization(scheme="W8A8"))
    for sentence in describe_reach(model, PRUNING):
        assert "left out: cls.predictions.decoder (its weight is tied to bert.embeddings.word_embeddings" in sentence
