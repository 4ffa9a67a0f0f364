"""What units of experts are worth: by hand, and against what goes missing without them."""

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.qwen3_moe import Mixtral, Qwen3Moe
from hf_compress.pruning.shrink.expert_units import expert_unit_importance, expert_unit_writing
from tests.architectures.small import small_batch, small_model

TENSORS = ("gate_up_proj", "down_proj")


def test_a_unit_is_worth_the_squares_of_its_two_rows_and_its_column_and_nothing_where_one_is_zero():
    inputs = torch.tensor([[[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])  # gates of two units, then their others
    output = torch.tensor([[[1.0, 5.0], [0.0, 5.0]]])
    assert expert_unit_importance(inputs, output).tolist() == [[25.0 + 4.0 + 1.0, 0.0]]


def test_what_a_unit_writes_is_what_its_layer_lacks_without_it():
    model, seen = small_model(Qwen3Moe()), []
    batch = {**small_batch(model), "attention_mask": torch.ones(2, 10, dtype=torch.long)}
    batch["attention_mask"][1, 6:] = 0
    experts = model.model.layers[0].mlp.experts
    found = expert_unit_writing(model, {"experts": experts}, TENSORS, [batch])["experts"]
    handle = experts.register_forward_hook(lambda _, args, output: seen.append((args, output)))
    with torch.no_grad():
        model(**batch)
        handle.remove()
        args, whole = seen[0]
        kept = batch["attention_mask"].flatten().bool()
        for expert, unit in ((0, 3), (2, 5), (3, 0)):
            column = experts.down_proj[expert, :, unit].clone()
            experts.down_proj[expert, :, unit] = 0
            lacking = (whole - experts(*args))[kept].norm()
            experts.down_proj[expert, :, unit] = column
            torch.testing.assert_close(found[expert, unit], lacking, rtol=1e-4, atol=1e-5)  # a difference of sums


def test_behind_fewer_layers_a_warning_names_those_of_the_model_that_was_given(caplog):
    plan = ShrinkPlan(feed_forward=8, layers=(2,))
    choose_parts(small_model(Qwen3Moe()), plan, [{"input_ids": torch.tensor([[5]])}])  # a token, and several experts
    assert "layer 2: no token" in caplog.text and "layer 0: no token" not in caplog.text


def test_an_expert_that_no_token_reaches_is_scored_by_its_weights_and_named(caplog):
    model = small_model(Qwen3Moe())
    gate = model.model.layers[2].mlp.gate
    gate.forward = lambda hidden, own=gate.forward: _without_expert_one(own(hidden))
    choice = choose_parts(model, ShrinkPlan(feed_forward=8), [small_batch(model)])
    assert "layer 2: no token of the batches reaches experts 1, so their units are chosen by" in caplog.text
    experts = model.model.layers[2].mlp.experts
    by_weights = expert_unit_importance(experts.gate_up_proj, experts.down_proj)[1]
    assert choice.kept.stacks[0].expert_units[2][1] == tuple(by_weights.topk(8).indices.sort().values.tolist())


def _without_expert_one(routed):
    logits, weights, chosen = routed
    return logits, weights, torch.where(chosen == 1, 3, chosen)


@pytest.mark.parametrize("batches", [True, False])
def test_each_expert_keeps_its_own_units(batches):
    model = small_model(Qwen3Moe())
    choice = choose_parts(model, ShrinkPlan(feed_forward=0.25), [small_batch(model)] if batches else None)
    units = choice.kept.stacks[0].expert_units
    assert len(units) == 4 and all(len(own) == 8 for layer in units for own in layer)
    assert len({own for layer in units for own in layer}) > 1
    text = choice.describe()
    assert text.startswith(
        "Qwen3MoeForCausalLM with 4 layers, 4 heads in 2 groups, 24 feed-forward units in each of 4 experts"
    )
    assert "layer 0: 16 of 24 units of each expert go" in text and "MACs of input_ids (1, 8): " in text


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"feed_forward": 12}, r"feed_forward=12: .*; legal: multiples of 8 below 24, and 24 \(torch multiplies experts'"),
        ({"feed_forward": 25}, "feed_forward=25: .*; legal: multiples of 8 below 24"),
        ({"hidden": 20}, "hidden=20: .*32 channels.*; legal: multiples of 8 below 32, and 32"),
    ],
)
def test_numbers_with_which_torch_does_not_multiply_experts_are_refused(plan, said):
    with pytest.raises(CompressionError, match=said):
        choose_parts(small_model(Mixtral()), ShrinkPlan(**plan))


def test_what_is_legal_in_fp32_runs_in_bf16_too():
    small = shrink(small_model(Mixtral()), ShrinkPlan(hidden=24, feed_forward=0.4)).bfloat16()
    assert small.config.intermediate_size == 8 and small(**small_batch(small)).logits.isfinite().all()


def test_a_budget_finds_units_of_experts_too():
    model = small_model(Qwen3Moe())
    batch = {**small_batch(model), "labels": small_batch(model)["input_ids"]}
    choice = choose_parts(model, ShrinkPlan(parameters=0.6, multiple_of=4, layers=[0, 1, 2, 3]), [batch])
    assert choice.after.parameters <= 0.6 * choice.before.parameters
    assert len(choice.kept.stacks[0].expert_units[0][0]) in (8, 16)  # and not 4, 12 or 20
