"""Which counts are within a budget."""

import itertools

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts
from hf_compress._forward.dry_run import skeleton
from hf_compress.pruning.shrink.budget import Counts, Sizes, plan_of, within
from hf_compress.pruning.shrink.planned import PlannedShrink
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5


def test_the_sizes_between_the_corners_are_those_of_models_that_are_built():
    model = tiny_llama(num_hidden_layers=3)
    plan = ShrinkPlan(parameters=0.5, macs=0.5)
    sizes = Sizes(model, plan, Counts(layers=1, heads=2, units=8), Counts(layers=3, heads=4, units=64))
    for layers, heads, units in itertools.product((2,), (2, 4), (24,)):
        counts = Counts(layers=layers, heads=heads, units=units)
        after = choose_parts(model, plan_of(plan, counts, tuple(range(layers)))).after
        assert sizes.of(counts, "parameters") == pytest.approx(after.parameters)
        assert sizes.of(counts, "macs") == pytest.approx(after.macs)


def test_each_number_of_layers_and_heads_has_the_most_units_that_fit_in_steps_or_all():
    model = skeleton(tiny_llama(num_hidden_layers=3))
    found = within(model, ShrinkPlan(parameters="60%", multiple_of=8))
    limit = 0.6 * sum(parameter.numel() for parameter in model.parameters())
    assert found.limits == {"parameters": limit}
    assert len(found.allowed) > 2
    for counts in found.allowed:
        assert counts.units % 8 == 0 and found.sizes.of(counts, "parameters") <= limit
        more = Counts(layers=counts.layers, heads=counts.heads, units=counts.units + 8)
        assert counts.units == 64 or found.sizes.of(more, "parameters") > limit
    for one, other in itertools.permutations(found.allowed, 2):
        assert one.layers > other.layers or one.heads > other.heads or one.units > other.units


def test_what_the_plan_names_is_held():
    model = tiny_llama(num_hidden_layers=3)
    assert {one.layers for one in within(model, ShrinkPlan(parameters=0.6, layers=2)).allowed} == {2}
    assert {one.heads for one in within(model, ShrinkPlan(parameters=0.6, heads=4)).allowed} == {4}
    assert {one.units for one in within(model, ShrinkPlan(parameters=0.6, feed_forward=0.5)).allowed} == {32}


def test_heads_stay_where_the_config_cannot_say_fewer():
    assert {one.heads for one in within(tiny_bert(), ShrinkPlan(parameters=0.8)).allowed} == {4}


def test_a_budget_of_an_encoder_and_a_decoder_is_refused():
    with pytest.raises(
        CompressionError, match="a budget is for models with one stack of layers, and this is T5.*give counts"
    ):
        within(tiny_t5(), ShrinkPlan(parameters=0.8))


def test_several_limits_hold_together():
    model = tiny_gpt2()
    found = within(model, ShrinkPlan(parameters="80%", macs="70%"))
    assert all(found.sizes.of(one, what) <= most for one in found.allowed for what, most in found.limits.items())


def test_a_budget_that_nothing_fits_is_refused_with_the_smallest_there_is():
    with pytest.raises(CompressionError, match=r"parameters=0.01 allows 2.., and the smallest legal model \(1 layers, 2"):
        within(tiny_llama(), ShrinkPlan(parameters=0.01))


@pytest.mark.parametrize("value", ["60", "0%", "100%", 1.0, 0.0, -0.5, "much"])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(CompressionError, match="parameters=.* is no share that stays"):
        ShrinkPlan(parameters=value)


def test_a_budget_is_shown_without_weights():
    planned = PlannedShrink.of(skeleton(tiny_llama()), ShrinkPlan(parameters="60%"))
    head, limits, *rows = planned.describe(skeleton(tiny_llama())).splitlines()
    assert head.startswith("LlamaForCausalLM with 2 layers") and limits.startswith("within at most ")
    assert len(rows) == len(planned.budget.allowed) and all(row.endswith(" parameters") for row in rows)


def test_settings_of_a_budget_are_counted_from_one():
    for name in ("candidates", "multiple_of"):
        with pytest.raises(CompressionError, match=f"{name}=0. must be 1 or more"):
            ShrinkPlan(parameters=0.5, **{name: 0})


def test_nothing_is_read_of_the_weights():
    with torch.device("meta"):
        model = tiny_llama()
    assert within(model, ShrinkPlan(parameters=0.6)).allowed
