"""The row of Qwen3 with experts."""

import pytest

from hf_compress import CompressionError, ShrinkPlan, choose_parts
from hf_compress.architectures.llama import Qwen3
from hf_compress.architectures.qwen3_moe import Mixtral, Qwen3Moe
from tests.architectures.small import small_config, small_model


def test_the_attention_is_qwens_and_the_router_reads_what_the_experts_do():
    (stack,), (plain,) = Qwen3Moe().stacks(small_config(Qwen3Moe())), Qwen3().stacks(None)
    assert stack.attention == plain.attention
    assert stack.norm_readers["post_attention_layernorm"] == ("mlp.gate", "mlp.experts")


@pytest.mark.parametrize("changes", [{"mlp_only_layers": [1]}, {"decoder_sparse_step": 2}])
def test_layers_with_and_without_experts_are_refused(changes):
    with pytest.raises(CompressionError, match="has layers with experts and layers without; qwen3_moe is known with"):
        choose_parts(small_model(Qwen3Moe(), **changes), ShrinkPlan(layers=[0]))


def test_mixtrals_experts_have_the_units_that_the_config_counts_as_the_only_ones():
    (stack,) = Mixtral().stacks(None)
    assert (stack.feed_forward.width, stack.experts.per_token) == ("intermediate_size", "num_experts_per_tok")
    assert stack.norm_readers["post_attention_layernorm"] == ("mlp.gate", "mlp.experts")
