"""T5's row: one number of units and heads for both stacks, and a bias that all layers of a stack share."""

import pytest
import torch
from transformers import T5EncoderModel

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.t5 import T5
from tests.architectures.small import small_batch, small_config, small_model


def test_the_bias_of_the_first_layer_moves_to_the_one_that_is_first_then_with_the_columns_of_the_heads_that_stay():
    model = small_model(T5())
    choice = choose_parts(model, ShrinkPlan(heads=2, layers={"encoder": [1, 3], "decoder": [2]}))
    small = shrink(model, choice)
    for kept, own, less in zip(
        choice.kept.stacks, (model.encoder, model.decoder), (small.encoder, small.decoder), strict=True
    ):
        assert len(set(kept.groups)) == 1  # the same in every layer
        bias = "layer.0.SelfAttention.relative_attention_bias"
        assert torch.equal(
            less.block[0].get_submodule(bias).weight, own.block[0].get_submodule(bias).weight[:, list(kept.groups[0])]
        )
    assert len(choice.kept.stacks[1].cross_groups) == 1 and choice.kept.stacks[0].cross_groups is None
    assert "decoder layer 2: 2 of 4 heads go (head " in choice.describe()
    assert "; 2 of 4 cross-attention heads go (head " in choice.describe()


def test_heads_that_share_a_bias_are_worth_what_they_are_in_all_layers_together():
    model = small_model(T5())
    for place, block in enumerate(model.encoder.block):  # head 0 writes most in one layer, and nothing in the others
        block.layer[0].SelfAttention.o.weight.data[:, :8] *= 1.5 if place == 0 else 0
    kept = choose_parts(model, ShrinkPlan(heads=3), [small_batch(model)]).kept.stacks[0]
    assert kept.groups == ((1, 2, 3),) * 4


def test_gated_units_have_a_row_in_each_input_and_the_first_version_has_one_input():
    assert T5().stacks(small_config(T5()))[0].feed_forward.inputs == ("layer.1.DenseReluDense.wi",)
    model = small_model(T5(), feed_forward_proj="gated-gelu")
    choice = choose_parts(model, ShrinkPlan(feed_forward=5))
    small, units = shrink(model, choice), list(choice.kept.stacks[1].units[3])
    own, less = (one.decoder.block[3].layer[2].DenseReluDense for one in (model, small))
    assert torch.equal(less.wi_0.weight, own.wi_0.weight[units]) and torch.equal(less.wi_1.weight, own.wi_1.weight[units])
    assert torch.equal(less.wo.weight, own.wo.weight[:, units])


def test_the_encoder_alone_shrinks_as_well():
    model = T5EncoderModel(small_config(T5())).eval()
    small = shrink(model, ShrinkPlan(layers=[1], feed_forward=0.5))
    assert (small.config.num_layers, small.config.num_decoder_layers, small.config.d_ff) == (1, 4, 12)


@pytest.mark.parametrize(("part", "key"), [("feed_forward", "d_ff"), ("heads", "num_heads")])
def test_what_both_stacks_have_one_number_for_cannot_be_said_apart(part, key):
    with pytest.raises(CompressionError, match=rf"T5Config has one number for encoder and decoder \({key}\); give one"):
        choose_parts(small_model(T5()), ShrinkPlan(**{part: {"decoder": 2}}))
