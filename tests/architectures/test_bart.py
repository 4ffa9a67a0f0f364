"""BART's row: two stacks, each with counts of its own."""

import pytest
import torch
from transformers import BartForCausalLM, BartForSequenceClassification

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.bart import Bart
from tests.architectures.small import small_batch, small_config, small_model


def test_encoder_and_decoder_are_asked_for_apart_and_what_is_not_named_stays_whole():
    model = small_model(Bart())
    plan = ShrinkPlan(layers={"decoder": 1}, feed_forward={"encoder": 8, "decoder": 0.25})
    choice = choose_parts(model, plan, [small_batch(model)])
    config = shrink(model, choice).config
    assert (config.encoder_layers, config.decoder_layers) == (4, 1)
    assert (config.encoder_ffn_dim, config.decoder_ffn_dim) == (8, 6)
    lines = choice.describe().splitlines()
    assert lines[0] == (
        "BartForConditionalGeneration with 4 encoder layers, 4 heads, 24 feed-forward units and 4 decoder layers, 4 heads,"
        " 24 feed-forward units"
    )
    assert lines[1].startswith("encoder layer 0: 16 of 24 units go") and len(choice.influence["decoder"]) == 4
    assert sum(line.startswith("decoder layer") and " goes (block influence" in line for line in lines) == 3
    assert any(line.startswith("MACs of input_ids (1, 8) and decoder_input_ids (1, 8): ") for line in lines)


@pytest.mark.parametrize("layers", [{"encoder": 3, "decoder": [0]}, {"encoder": [2], "decoder": 4}])
def test_it_generates_whichever_stack_is_the_deeper_one(layers):
    model = small_model(Bart())
    batch = {"input_ids": small_batch(model)["input_ids"]}
    small = shrink(model, ShrinkPlan(layers=layers), [small_batch(model)])
    written = [small.generate(**batch, do_sample=False, max_new_tokens=9, use_cache=cache) for cache in (True, False)]
    assert torch.equal(*written)


def test_a_class_with_the_decoder_alone_or_another_head_has_the_stacks_that_are_there():
    config = small_config(Bart())
    plan = ShrinkPlan(feed_forward=0.5, layers=[0, 1])
    small = shrink(BartForCausalLM(config).eval(), plan)
    assert (small.config.decoder_layers, small.config.decoder_ffn_dim, small.config.encoder_ffn_dim) == (2, 12, 24)
    assert shrink(BartForSequenceClassification(config), plan).config.encoder_layers == 2


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"layers": {"middle": 1}}, "has no middle; it has encoder and decoder"),
        ({"layers": {"encoder": 5}}, "encoder layers=5: .*legal: 1 to 4"),
        ({"layers": {"decoder": 2}}, "decoder layers=2 says how many layers stay and not which"),
        ({"feed_forward": {"decoder": 25}}, "decoder feed_forward=25: .*legal: 1 to 24"),
        ({"heads": {"decoder": 2}}, "decoder heads=2: BartConfig has no key for the size of a head.*: 4, all of them"),
    ],
)
def test_what_a_stack_cannot_be_left_with_is_refused_with_its_name(plan, said):
    with pytest.raises(CompressionError, match=said):
        choose_parts(small_model(Bart()), ShrinkPlan(**plan))
