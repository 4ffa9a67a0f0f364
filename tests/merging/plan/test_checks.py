"""What is wrong between the fields of a merge is said before any file is read."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from hf_compress.merging.compat import Compat
from hf_compress.merging.configuration import Heads, LayerRange, Member, Merge, Rule, Slice, Tokenizer
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.methods.slerp import Slerp
from hf_compress.merging.plan.checks import check_merge, parameter_names


@dataclass(frozen=True, kw_only=True)
class Differences(MergeMethod):
    """A method on task vectors, with every kind of field."""

    name: ClassVar[str] = "differences"
    density: float = 0.5
    scale: float = 1.0
    normalize: bool = False
    steps: int = 3
    compat: Compat = "paper"

    needs_base: ClassVar[bool] = True
    per_member: ClassVar[tuple[str, ...]] = ("weight", "density")


TWO = (Member("a"), Member("b"))


def slices(*sources):
    return tuple(Slice(sources=tuple(LayerRange(member=name, layers=(0, 2)) for name in each)) for each in sources)


def test_a_sound_merge_has_no_problem():
    merge = Merge(
        method=Differences(),
        base="c",
        members=(Member("a", weight=[0, 1], values={"density": 0.2}), Member("b", name="second")),
        rules=(Rule(member="second", set={"density": [0.1, 0.9]}), Rule(set={"scale": 2, "normalize": True})),
        take={"lm_head.weight": "base"},
        heads=Heads(policy="take", member="second"),
        tokenizer=Tokenizer(source="union", rows={"<x>": "a"}),
    )
    assert check_merge(merge) == []


def test_names_of_variants_are_no_parameters():
    assert parameter_names(Differences()) == ["weight", "density", "scale", "normalize", "steps"]


@pytest.mark.parametrize(
    ("merge", "sentence"),
    [
        (Merge(members=(Member("a"), Member("a"))), "members: 'a' stands 2 times; give each a name of its own"),
        (Merge(members=()), "members is empty; name at least one model"),
        (Merge(members=(Member("base"),)), "the label 'base' means the base model; give the member a name"),
        (Merge(method=Differences(), members=TWO), "base is missing, and differences merges differences to it"),
        (Merge(method=Slerp(), members=(*TWO, Member("c"))), "slerp takes 1 to 2 members beside the base, and 3 are given"),
        (
            Merge(members=TWO, rules=(Rule(member="aa", set={"weight": 1}),)),
            "rules.0.member: unknown member 'aa'; did you mean 'a'?",
        ),
        (Merge(members=TWO, take={"x": "base"}), "take: 'x': unknown member 'base' (known: a, b)"),
        (Merge(members=TWO, heads=Heads(policy="take", member="z")), "heads.member: unknown member 'z' (known: a, b)"),
        (
            Merge(members=TWO, tokenizer=Tokenizer(source="z")),
            "tokenizer.source: unknown source 'z' (known: a, b, base, union)",
        ),
        (Merge(members=TWO, tokenizer=Tokenizer(rows={"<s>": "z"})), "tokenizer.rows: '<s>': unknown member 'z'"),
        (Merge(members=TWO, slices=slices("a")), "members: no slice uses 'b'; leave it out"),
        (Merge(members=TWO, slices=slices("ab", "z")), "slices.1.sources: unknown member 'z' (known: a, b)"),
        (Merge(members=TWO, slices=slices("ab", "aa")), "slices.1: 'a' stands twice"),
        (Merge(members=TWO, slices=()), "slices is empty"),
        (
            Merge(method=Differences(), base="c", members=(Member("a"),), slices=slices("a")),
            "slices.0: differences merges differences to the base; add the base's layers to the sources",
        ),
        (
            Merge(members=(Member("a", values={"density": 1}),)),
            "members.0.values.density: unknown per-member parameter of linear 'density'",
        ),
        (
            Merge(method=Differences(), base="c", members=(Member("a", values={"scale": 1}),)),
            "members.0.values.scale: one for all members in differences; set it in method or rules",
        ),
        (Merge(members=(Member("a", values={"weight": 1}),)), "members.0.values.weight: a field of the member itself"),
        (Merge(members=(Member("a", weight=[]),)), "members.0.weight is an empty list"),
        (Merge(members=(Member("a", weight=float("nan")),)), "members.0.weight=nan is not a number"),
        (Merge(members=(Member("a", weight=1e308),)), "members.0.weight=1e+308 is not a number in fp32"),
        (Merge(members=TWO, rules=(Rule(set={"normalise": 1}),)), "'normalise'; did you mean 'normalize'?"),
        (
            Merge(method=Differences(), base="c", members=TWO, rules=(Rule(member="a", set={"scale": 1}),)),
            "rules.0.set.scale: one for all members in differences; leave `member` out of the rule",
        ),
    ],
)
def test_a_problem_is_said_in_one_sentence(merge, sentence):
    problems = check_merge(merge)
    assert any(sentence in problem for problem in problems), problems


def test_all_problems_are_said_at_once():
    merge = Merge(members=(Member("a"), Member("a")), take={"x": "z"}, rules=(Rule(set={"t": 1}),))
    assert len(check_merge(merge)) == 3


def test_a_slice_of_the_base_alone_needs_no_member():
    merge = Merge(method=Linear(), base="c", members=(Member("a"),), slices=slices(("a",), ("base",)))
    assert check_merge(merge) == []
