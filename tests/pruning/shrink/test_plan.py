"""What a plan can say."""

import pytest

from hf_compress import CompressionError, ShrinkPlan
from hf_compress._registry import dump
from hf_compress.pruning.shrink.plan import amount_of
from hf_compress.recipe.build import build


def test_a_share_is_rounded_to_the_nearest_whole_number_and_at_least_one_stays():
    assert [amount_of(0.5, 24), amount_of(0.5, 3), amount_of(0.4, 3), amount_of(0.01, 10)] == [12, 2, 1, 1]
    assert amount_of(5, 3) == 5  # whether there are so many is another question


def test_places_are_sorted():
    assert ShrinkPlan(layers=[3, 0, 1]).layers == (0, 1, 3)
    assert ShrinkPlan(layers={"encoder": [2, 1], "decoder": 0.5}).layers == {"encoder": (1, 2), "decoder": 0.5}


def test_stacks_are_named_in_a_recipe_as_in_python():
    written, problems = {"layers": {"encoder": [0, 2], "decoder": 2}, "feed_forward": {"decoder": 0.5}}, []
    plan = build(ShrinkPlan, written, "shrink", problems)
    assert plan == ShrinkPlan(layers={"encoder": (0, 2), "decoder": 2}, feed_forward={"decoder": 0.5}) and not problems
    assert dump(plan) == written and plan.measures and plan.needs_calibration == "layers"
    assert not ShrinkPlan(layers={"encoder": [0], "decoder": [1]}).needs_calibration
    build(ShrinkPlan, {"heads": {"encoder": [1]}, "layers": {"encoder": "x"}}, "shrink", problems)
    assert [problem.path for problem in problems] == ["shrink.heads.encoder", "shrink.layers.encoder"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "keeps everything; say what stays"),
        ({"heads": 0}, r"heads=0\): at least 1 must stay"),
        ({"layers": 1.5}, "a share that stays lies between 0 and 1"),
        ({"feed_forward": 1.0}, "how many stay is a whole number"),
        ({"feed_forward": [3, 4]}, "one number for all layers; give one, the same for each"),
        ({"heads": {"decoder": [1]}}, r"heads.decoder=...\): a list given, and a config of transformers has one number"),
        ({"layers": {"decoder": 0}}, r"layers.decoder=0\): at least 1 must stay"),
        ({"layers": {}}, "keeps everything"),
        ({"heads": True}, "True .true or false. given"),
        ({"layers": []}, "at least one"),
        ({"layers": [-1]}, "whole numbers from 0"),
        ({"layers": [1, 1]}, "names a layer twice"),
        ({"layers": "half"}, "'half' .text. given"),
    ],
)
def test_what_no_plan_is_is_refused(given, said):
    with pytest.raises(CompressionError, match=said):
        ShrinkPlan(**given)
