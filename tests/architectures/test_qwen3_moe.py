"""The rows of Qwen3-MoE and Mixtral."""

import pytest
from transformers import Qwen3MoeConfig

from hf_compress import CompressionError, ShrinkPlan, choose_parts
from hf_compress.architectures.qwen3_moe import Mixtral, Qwen3Moe
from tests.architectures.small import small_config, small_model


def test_a_number_of_experts_that_is_written_by_its_other_name_is_found():
    config = Qwen3MoeConfig.from_dict({"num_experts": 16})
    assert getattr(config, Qwen3Moe().stacks(config)[0].experts.count) == 16


@pytest.mark.parametrize(("key", "value"), [("mlp_only_layers", [3]), ("decoder_sparse_step", 2)])
def test_where_the_place_decides_which_layers_have_experts_it_matters(key, value):
    assert Qwen3Moe().place_matters(small_config(Qwen3Moe(), **{key: value})) == key
    assert Qwen3Moe().place_matters(small_config(Qwen3Moe())) == Mixtral().place_matters(small_config(Mixtral())) == ""


def test_units_of_experts_stay():
    with pytest.raises(CompressionError, match="8 experts, which are its feed-forward parts and keep their units"):
        choose_parts(small_model(Qwen3Moe()), ShrinkPlan(feed_forward=0.5))
