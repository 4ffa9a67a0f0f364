"""Checks run where what they need is right, and nothing is opened twice."""

from dataclasses import dataclass

import pytest

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError
from hf_compress.recipe.checks import Checked, checks_of, find_problems, open_parts


def needs_both(a, b):
    return [Problem(path="a", message=f"{a} and {b}")]


def refuses(a):
    raise CompressionError("a: is wrong\nb: is wrong too")


def with_default(a, b=0):
    return [Problem(path="", message=f"{a} with {b}")]


def everything(a, **others):
    return [Problem(path="", message=f"{a} among {sorted(others)}")]


def texts(problems):
    return [str(problem) for problem in problems]


def test_a_check_runs_where_the_fields_it_names_are_right():
    assert find_problems([needs_both], {"a": 1}) == []
    assert texts(find_problems([needs_both], {"a": 1, "b": 2, "c": 3})) == ["a: 1 and 2"]
    assert texts(find_problems([with_default], {"a": 1})) == ["1 with 0"]
    assert texts(find_problems([with_default], {"a": 1, "b": 2})) == ["1 with 2"]
    assert texts(find_problems([everything], {"a": 1, "b": 2})) == ["1 among ['b']"]


def test_every_line_of_a_refusal_is_a_problem_and_none_comes_twice():
    assert texts(find_problems([refuses, refuses], {"a": 1})) == ["a: is wrong", "b: is wrong too"]


def test_what_is_opened_is_there_for_those_behind_it_and_opened_once():
    times = []

    def first(a):
        times.append(a)
        return a * 10

    def second(first):
        return first + 1

    def third(first, second):
        raise CompressionError(f"third: {first} and {second}")

    def never(third):
        raise AssertionError

    opened, problems = open_parts([first, second, third, never], {"a": 4})
    assert opened == {"first": 40, "second": 41} and texts(problems) == ["third: 40 and 41"] and times == [4]
    assert open_parts([first, second], {}) == ({}, [])


def positive(size):
    if size < 1:
        raise CompressionError(f"size={size} must be 1 or more")


def short(name):
    if len(name) > 3:
        raise CompressionError(f"name={name!r} is too long")


@dataclass(frozen=True, kw_only=True)
class Value(Checked):
    size: int = 1

    checks = (positive,)


@dataclass(frozen=True, kw_only=True)
class Named(Value):
    name: str

    checks = (short,)


def test_a_value_refuses_all_its_mistakes_when_it_is_made_and_inherits_checks():
    with pytest.raises(RecipeError) as refusal:
        Named(size=0, name="long")
    assert texts(refusal.value.problems) == ["size=0 must be 1 or more", "name='long' is too long"]
    assert checks_of(Named) == ((positive, short), ())


def test_a_check_that_could_never_run_is_a_mistake_of_whoever_wrote_it():
    @dataclass(frozen=True, kw_only=True)
    class Misspelt(Checked):
        name: str

        checks = (positive,)

    def opener(name):
        return name

    opener.__name__ = "place"

    @dataclass(frozen=True, kw_only=True)
    class Shadowed(Checked):
        name: str
        place: str

        opens = (opener,)

    with pytest.raises(TypeError, match=r"positive\(size\) needs what is neither a field of the job nor opened before it"):
        Misspelt(name="a")
    with pytest.raises(TypeError, match="opens something under a name that is taken"):
        Shadowed(name="a", place="b")
