"""Every tensor's parameters: members, rules, gradients over depth."""

import random
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest

from hf_compress._errors import CompressionError
from hf_compress.merging.compat import Compat
from hf_compress.merging.configuration import LayerRange, Member, Merge, Rule, Slice
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.methods.passthrough import Passthrough
from hf_compress.merging.methods.slerp import Slerp
from hf_compress.merging.plan.parameters import interpolate, resolve

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{layer}.{part}.weight" for layer in range(5) for part in ("self_attn.q_proj", "mlp.up_proj")),
    "model.norm.weight",
    "lm_head.weight",
]
TWO = (Member("a", weight=0.25), Member("b", weight=0.75))


@dataclass(frozen=True, kw_only=True)
class Switched(MergeMethod):
    """A method with every kind of field."""

    name: ClassVar[str] = "switched"
    density: float = 0.5
    sharp: bool = False
    steps: int = 3
    compat: Compat = "paper"

    per_member: ClassVar[tuple[str, ...]] = ("weight", "density")


@pytest.mark.parametrize(
    ("depth", "value"),
    [(0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 0.75), (1, 0.5)],
)
def test_a_gradient_joins_its_points_by_straight_lines(depth, value):
    assert interpolate([0, 1, 0.5], depth) == value  # exact in binary


def test_a_gradient_of_booleans_takes_one_of_them():
    assert [interpolate([True, False, True], depth) for depth in (0, 0.3, 0.5, 0.9, 1)] == [True, True, False, False, True]


def test_without_rules_members_keep_their_weights_and_the_method_its_fields():
    found = resolve(Merge(members=TWO), NAMES)
    assert list(found) == NAMES
    assert all(each.method == Linear() and each.values == {"weight": (0.25, 0.75)} for each in found.values())


def test_a_list_is_read_at_each_layer_s_depth():
    found = resolve(Merge(members=(Member("a", weight=[0, 1, 3]), Member("b"))), NAMES)
    weights = {name: each.values["weight"] for name, each in found.items()}
    assert weights["model.embed_tokens.weight"] == (0, 1)
    assert [weights[f"model.layers.{layer}.mlp.up_proj.weight"][0] for layer in range(5)] == [0, 0.5, 1, 2, 3]
    assert weights["model.norm.weight"] == weights["lm_head.weight"] == (3, 1)


def test_later_rules_win_over_earlier_ones_and_over_the_members():
    rules = (
        Rule(match="re:.*mlp", set={"weight": 0.5}),
        Rule(match="re:.*mlp", layers=(1, 3), member="b", set={"weight": 0.9}),
        Rule(match="lm_head.weight", set={"normalize": False}),
    )
    found = resolve(Merge(members=TWO, rules=rules), NAMES)
    assert found["model.layers.0.mlp.up_proj.weight"].values["weight"] == (0.5, 0.5)
    assert found["model.layers.2.mlp.up_proj.weight"].values["weight"] == (0.5, 0.9)
    assert found["model.layers.3.mlp.up_proj.weight"].values["weight"] == (0.5, 0.5)
    assert found["model.layers.2.self_attn.q_proj.weight"].values["weight"] == (0.25, 0.75)
    assert found["lm_head.weight"].method == Linear(normalize=False)
    assert found["model.norm.weight"].method == Linear()


def test_what_a_member_does_not_say_the_method_says():
    merge = Merge(method=Switched(density=0.3), members=(Member("a", values={"density": [0, 1]}), Member("b")))
    found = resolve(merge, NAMES)
    assert found["model.layers.2.mlp.up_proj.weight"].values == {"weight": (1, 1), "density": (0.5, 0.3)}


def test_the_method_learns_whose_numbers_are_wanted():
    pair = (Member("a"), Member("b"))
    assert resolve(Merge(method=Slerp(), members=pair, compat="mergekit"), NAMES)[NAMES[0]].method.compat == "mergekit"
    own = Slerp(compat="mergekit")
    assert resolve(Merge(method=own, members=pair), NAMES)[NAMES[0]].method == own


def test_mergekit_reads_a_gradient_at_its_start_outside_the_layers_and_slice_by_slice():
    members = (Member("a", weight=[0, 1]),)
    found = resolve(Merge(members=members, compat="mergekit", method=Linear(normalize=False)), NAMES)
    assert found["lm_head.weight"].values["weight"] == found["model.norm.weight"].values["weight"] == (0,)
    slices = tuple(Slice(sources=(LayerRange(member="a", layers=layers),)) for layers in ((0, 1), (0, 4)))
    merge = Merge(members=members, slices=slices, compat="mergekit", method=Linear(normalize=False))
    found = resolve(merge, NAMES)
    weights = [found[f"model.layers.{layer}.mlp.up_proj.weight"].values["weight"][0] for layer in range(5)]
    assert weights == [1, 0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1]  # 1/3 has no exact value


def test_a_tensor_of_some_members_gets_their_values_only():
    found = resolve(Merge(members=TWO), NAMES, {"model.norm.weight": ["b"]})
    assert found["model.norm.weight"].values == {"weight": (0.75,)}
    assert found["lm_head.weight"].values == {"weight": (0.25, 0.75)}


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule(match="model.norms.weight", set={"weight": 1}), "the nearest name is 'model.norm.weight'"),
        (Rule(match="re:.*mpl", set={"weight": 1}), "rules.0.match: 're:.*mpl' matches no tensor"),
        (Rule(match="re:.*norm", layers=(0, 2), set={"weight": 1}), "matches no tensor in layers [0, 2]"),
        (Rule(layers=(5, 9), set={"weight": 1}), "rules.0.layers: [5, 9] matches no tensor; the model has layers 0 to 4"),
        (Rule(match="re:(", set={"weight": 1}), "rules.0.match: 're:(' is not a regular expression"),
        (Rule(set={"normalize": 0.5}), "model.embed_tokens.weight: normalize=0.5 must be true or false"),
        (Rule(match="lm_head.weight", set={"weight": 0}), "lm_head.weight: the weights [0.0, 0.0] sum to 0"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(rule, sentence):
    with pytest.raises(CompressionError, match=re.escape(sentence)):
        resolve(Merge(members=TWO, rules=(rule,)), NAMES)


def test_a_whole_number_stays_one():
    rules = (Rule(set={"steps": [1, 5]}),)
    found = resolve(Merge(method=Switched(), members=TWO, rules=rules), NAMES)
    assert [found[f"model.layers.{layer}.mlp.up_proj.weight"].method.steps for layer in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(CompressionError, match=r"steps=1.25 must be a whole number"):
        resolve(Merge(method=Switched(), members=TWO, rules=(Rule(set={"steps": [1, 2]}),)), NAMES)


def test_a_value_out_of_a_method_s_range_names_the_tensor():
    merge = Merge(method=Slerp(), members=TWO, rules=(Rule(match="lm_head.weight", set={"t": 1.5}),))
    with pytest.raises(CompressionError, match=r"lm_head.weight: t=1.5 lies outside \[0, 1\]"):
        resolve(merge, NAMES)


def test_problems_between_the_fields_come_first():
    with pytest.raises(CompressionError, match="stands 2 times"):
        resolve(Merge(members=(Member("a"), Member("a"))), NAMES)


def test_ten_thousand_tensors_and_twenty_rules_agree_with_a_slow_reading():
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.w{part}"
        for layer in range(24)
        for expert in range(139)
        for part in "123"
    ]
    assert len(names) > 10_000
    draw = random.Random(0)
    rules = tuple(
        Rule(
            match=f"re:.*experts\\.\\d*{draw.randrange(10)}\\.w{draw.choice('123')}",
            layers=(draw.randrange(12), 12 + draw.randrange(12)),
            member=draw.choice(["a", "b", None]),
            set={"weight": [draw.random() + 0.1 for _ in range(draw.randint(2, 5))]},
        )
        for _ in range(20)
    )
    found = resolve(Merge(members=TWO, rules=rules), names)
    for name in draw.sample(names, 200):
        layer = int(name.split(".")[2])
        weights = {"a": 0.25, "b": 0.75}
        for rule in rules:
            if rule.layers[0] <= layer < rule.layers[1] and re.match(rule.match.removeprefix("re:"), name):
                values, place = rule.set["weight"], layer / 23 * (len(rule.set["weight"]) - 1)
                low = min(int(place), len(values) - 2)
                value = values[low] + (values[low + 1] - values[low]) * (place - low)
                weights.update({label: value for label in weights if rule.member in (None, label)})
        # another order of the same few additions
        assert found[name].values["weight"] == pytest.approx(tuple(weights.values()), rel=1e-12)


def test_a_scale_for_layers_of_the_base_alone_is_refused():
    pieces = tuple(Slice(sources=(LayerRange(member=label, layers=(0, 5)),)) for label in ("base", "a"))
    rules = (Rule(match="re:.*q_proj.*", set={"scale": 0}),)
    job = Merge(method=Passthrough(), members=(Member("a"),), base="x", slices=pieces, rules=rules)
    name = "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(CompressionError, match=f"{name} is the base's alone and is copied, so scale=0 has no effect"):
        resolve(job, [name], {name: []})
