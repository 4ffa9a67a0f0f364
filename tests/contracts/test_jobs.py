"""What every job promises; a new one is tested without editing a list."""

import ast
import dataclasses
import inspect
import itertools
import re
import sys
import types
import typing
from pathlib import Path

import pytest

from hf_compress import CompressionError, Recipe
from hf_compress._problems import RecipeError
from hf_compress._registry import Strategy
from hf_compress.recipe.checks import checks_of
from tests.command_line import tree

JOBS = Recipe.available()
NONE = types.NoneType


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def missing(name):
    return f"./nowhere-{name}"


def value_of(annotation, name, wanted, turn):
    """Plain data of the kind, by defaults where there are any; every text is a path where nothing is."""
    members = [each for each in typing.get_args(annotation) if each is not NONE]
    if typing.get_origin(annotation) is types.UnionType:
        return value_of(members[0], name, wanted, turn)
    if typing.get_origin(annotation) is typing.Literal:
        return members[0]
    if typing.get_origin(annotation) is tuple:
        return [value_of(members[0], name, wanted, turn)]
    if typing.get_origin(annotation) is dict:
        return {"output_dir": "new"}
    if isinstance(annotation, type) and issubclass(annotation, Strategy):
        return list(annotation.available())[turn % len(annotation.available())]
    if dataclasses.is_dataclass(annotation):
        return fields_of(annotation, name, (is_count,) if is_part in wanted else (), turn)
    return {str: missing(name), int: 1, float: 0.5, bool: True}[annotation]


def fields_of(cls, name, wanted, turn):
    """What `cls` requires, and those optional fields whose annotation `wanted` says yes to."""
    hints = typing.get_type_hints(cls)
    data = {}
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        kinds = set(typing.get_args(hints[field.name]))
        optional = NONE in kinds and any(want(kind) for want in wanted for kind in kinds - {NONE})
        if required or optional:
            data[field.name] = value_of(hints[field.name], f"{name}.{field.name}" if name else field.name, wanted, turn)
    return data


def is_section(kind):
    return dataclasses.is_dataclass(kind) and all(
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )


def is_count(kind):
    return kind is int


def is_part(kind):
    """A section, or a strategy, whatever it requires."""
    return dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, Strategy))


def example(name):
    """A recipe without a mistake of its own that names only what is not there."""
    refusals = []
    turns = itertools.product(
        range(4), ((), (is_section,), (is_section, is_count), (is_part, is_count))
    )  # not every strategy goes with all
    for turn, wanted in turns:
        data = {"job": name, **fields_of(JOBS[name], "", wanted, turn)}
        try:
            return data, Recipe.from_plain(data)
        except RecipeError as refusal:
            refusals.append(str(refusal))
    raise AssertionError(f"no recipe of {name} can be made up: {refusals}")


def about_files(problems):
    """Those that say that something is not there, by what is named."""
    return {text for text in map(str, problems) if "nowhere" in text}


def refused(data):
    with pytest.raises(RecipeError) as refusal:
        Recipe.from_plain(data, sources=True)
    return refusal.value.problems


@pytest.mark.parametrize("name", JOBS)
def test_missing_files_are_named_whatever_else_is_wrong(name, here):
    data, recipe = example(name)
    absent = about_files(recipe.preflight())
    assert absent, f"{name} opens nothing of {data}"
    problems = refused({**data, "wrong_key": 1})
    assert "wrong_key" in [problem.path for problem in problems]
    assert absent <= about_files(problems)
    assert len(set(problems)) == len(problems)
    for field in dataclasses.fields(JOBS[name]):
        problems = refused({**data, field.name: [[{"a": 1}]], "wrong_key": 1})
        assert any(problem.path.startswith(field.name) for problem in problems), field.name
        others = {text for text in absent if not re.search(rf"nowhere-{field.name}(?!\w)", text)}
        assert others <= about_files(problems), field.name
    assert tree(here) == []


@pytest.mark.parametrize("name", JOBS)
def test_running_says_what_checking_says_and_writes_nothing(name, here):
    _, recipe = example(name)
    with pytest.raises(CompressionError) as refusal:
        recipe.run()
    assert sorted(str(refusal.value).splitlines()) == sorted(map(str, recipe.preflight()))
    assert tree(here) == []


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_read_back_as_it_was_written(name):
    _, recipe = example(name)
    for full in (False, True):
        assert Recipe.from_plain(recipe.to_plain(full)) == recipe
    assert all(field.kw_only for field in dataclasses.fields(recipe)) and JOBS[name].__dataclass_params__.frozen


@pytest.mark.parametrize("name", JOBS)
def test_every_check_can_run(name):
    checks, opens = checks_of(JOBS[name])  # refuses what needs something that is never there
    assert checks and opens


@pytest.mark.parametrize("name", JOBS)
def test_a_job_hands_itself_over_and_not_its_fields_one_by_one(name):
    """What it calls would have them as parameters, and each option would stand twice."""
    own = Path(sys.modules[JOBS[name].__module__].__file__)
    for file in sorted(own.parent.glob("*.py")) if own.parent.name != "jobs" else [own]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                given = [keyword.arg for keyword in node.keywords if is_own(keyword.value, keyword.arg)]
                assert len(given) <= 2, f"{file.name}:{node.lineno} passes {given}; make a value that both have"


def is_own(value, name):
    return isinstance(value, ast.Attribute) and value.attr == name and getattr(value.value, "id", "") in ("self", "job")


@pytest.mark.parametrize("name", JOBS)
def test_every_field_is_explained_once(name):
    classes = [cls for cls in JOBS[name].__mro__ if "__annotations__" in cls.__dict__]
    for field in dataclasses.fields(JOBS[name]):
        explained = [cls.__name__ for cls in classes if f"\n    {field.name}: " in inspect.cleandoc(cls.__doc__ or "")]
        assert len(explained) == 1, (field.name, explained)
