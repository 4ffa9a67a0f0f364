"""GPT-2's row."""

from transformers import GPT2Config

from hf_compress.architectures.gpt2 import GPT2


def test_queries_keys_and_values_are_one_module_and_a_heads_size_has_no_key():
    attention = GPT2().stacks(None)[0].attention
    assert attention.query == attention.key == attention.value == "attn.c_attn"
    assert attention.head_size is None


def test_a_blocks_place_matters_where_its_scores_are_divided_by_it():
    assert GPT2().place_matters(GPT2Config()) == ""
    config = GPT2Config(scale_attn_by_inverse_layer_idx=True)
    assert GPT2().place_matters(config) == "scale_attn_by_inverse_layer_idx"
