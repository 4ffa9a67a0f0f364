"""Plain data becomes objects, or problems with their paths."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from hf_compress import Cubic, Pruning
from hf_compress._errors import CompressionError
from hf_compress._units import Point
from hf_compress.pruning.schedule import Schedule
from hf_compress.recipe.build import INVALID, build, describe

SCHEDULES = "(known: constant, cosine, cubic, exponential, linear, one_cycle)"


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int
    share: float = 0.5

    def __post_init__(self):
        if self.size < 0:
            raise CompressionError(f"size={self.size} is negative")


@dataclass(frozen=True, kw_only=True)
class Outer:
    mode: Literal["slow", "fast"] = "fast"
    inner: Inner | None = None
    items: tuple[Inner, ...] = ()
    table: dict[str, int] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    source: str | Inner = "here"
    at: Point = 0


def problems_of(annotation, value):
    problems = []
    assert build(annotation, value, "top", problems) is INVALID
    return [str(problem) for problem in problems]


def test_nested_data_becomes_nested_objects():
    problems = []
    data = {"mode": "slow", "inner": {"size": 3}, "items": [{"size": 1, "share": 1}], "table": {"a": 1}, "at": "5%"}
    built = build(Outer, data, "top", problems)
    assert built == Outer(mode="slow", inner=Inner(size=3), items=(Inner(size=1, share=1.0),), table={"a": 1}, at="5%")
    assert isinstance(built.items[0].share, float)
    assert problems == []


def test_a_union_takes_the_member_that_fits():
    assert build(Outer, {"source": "there"}, "", []).source == "there"
    assert build(Outer, {"source": {"size": 1}}, "", []).source == Inner(size=1)
    assert build(Outer, {"inner": None}, "", []).inner is None


def test_free_data_is_left_alone():
    free = {"a": [1, {"b": None}], "c": "1e-5"}
    assert build(Outer, {"free": free}, "", []).free == free


def test_every_problem_has_its_path():
    data = {
        "mode": "medium",
        "inner": {"size": "x", "shar": 1},
        "items": [{"size": 1}, {}],
        "table": {"a": "b"},
        "at": 0.5,
        "x": 1,
    }
    assert problems_of(Outer, data) == [
        "top.mode: unknown value 'medium' (known: fast, slow)",
        "top.inner.size: 'x' (text) given, a whole number expected",
        "top.inner.shar: unknown key 'shar'; did you mean 'share'? (known: share, size)",
        "top.items.1.size: is missing",
        "top.table.a: 'b' (text) given, a whole number expected",
        "top.at: at=0.5 is not a point in training; write a step (300) or a share ('60%')",
        "top.x: unknown key 'x' (known: at, free, inner, items, mode, source, table)",
    ]


def test_a_constructors_refusal_becomes_a_problem_at_its_place():
    assert problems_of(Outer, {"items": [{"size": -1}]}) == ["top.items.0: size=-1 is negative"]


WRONG = [
    (int, True, "top: True (true or false) given, a whole number expected"),
    (int, 1.0, "top: 1.0 (a number) given, a whole number expected"),
    (float, True, "top: True (true or false) given, a number expected"),
    (float, "1", "top: '1' (text) given, a number expected"),
    (float, float("inf"), "top: inf is not a finite number; write one"),
    (float | None, float("nan"), "top: nan is not a finite number; write one"),
    (str, None, "top: nothing given, text expected"),
    (str, 1, "top: 1 (a whole number) given, text expected"),
    (bool, 0, "top: 0 (a whole number) given, true or false expected"),
    (tuple[str, ...], "a", "top: 'a' (text) given, a list expected: [a]"),
    (tuple[str, ...], None, "top: nothing given, a list expected"),
    (dict[str, int], [1], "top: a list given, a mapping expected"),
    (Inner | None, 3, "top: 3 (a whole number) given, a mapping with size, share expected"),
    (str | Inner, 3, "top: 3 (a whole number) given, text or a mapping with size, share expected"),
    (str | Inner, {"size": "x"}, "top.size: 'x' (text) given, a whole number expected"),
    (Literal["a", "b"], None, "top: nothing given, one of a, b expected"),
    (Literal["a", "b"], ["a"], "top: a list given, one of a, b expected"),
    (
        Schedule,
        5,
        "top: 5 (a whole number) given, the name of a schedule expected, or a mapping with `name`"
        " (known: constant, cosine, cubic, exponential, linear, one_cycle)",
    ),
    (
        Schedule,
        {"final": 0.5},
        f"top: a schedule needs a `name` {SCHEDULES}",
    ),
    (
        Schedule,
        {"name": "cubicc"},
        f"top: unknown schedule 'cubicc'; did you mean 'cubic'? {SCHEDULES}",
    ),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), WRONG)
def test_a_wrong_kind_is_one_problem(annotation, value, expected):
    assert problems_of(annotation, value) == [expected]


def test_a_strategy_is_a_bare_name_or_a_mapping():
    assert build(Schedule, "cubic", "", []) == Cubic()
    assert build(Schedule, {"name": "cubic", "final": 0.25}, "", []) == Cubic(final=0.25)
    assert build(Pruning, {"schedule": {"name": "cubic", "end": 7}}, "", []) == Pruning(schedule=Cubic(end=7))


def test_building_does_not_change_the_data():
    data = {"schedule": {"name": "cubic", "end": 7}, "targets": ["Linear"]}
    build(Pruning, data, "", [])
    assert data == {"schedule": {"name": "cubic", "end": 7}, "targets": ["Linear"]}


def test_values_are_described_with_their_kind():
    assert [describe(value) for value in (None, {}, [], "a", 1, 1.5, True)] == [
        "nothing",
        "a mapping",
        "a list",
        "'a' (text)",
        "1 (a whole number)",
        "1.5 (a number)",
        "True (true or false)",
    ]
