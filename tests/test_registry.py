"""Strategies register themselves, are found by name and dump to what a recipe would say."""

import dataclasses
import sys
import types

import pytest

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference, Strategy, dump, unknown


@pytest.fixture
def kind():
    """A kind of strategy with two members, in a package of its own."""
    package = types.ModuleType("colours_of_a_test")
    package.__path__ = []
    sys.modules[package.__name__] = package

    class Colour(Strategy, kind="colour", package=package.__name__):
        pass

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Red(Colour, name="red"):
        depth: float = 0.5
        tags: tuple[str, ...] = ()

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Blue(Colour, name="blue"):
        pass

    yield Colour, Red, Blue
    del sys.modules[package.__name__]


def test_declaring_a_strategy_registers_it_under_its_kind_sorted_by_name(kind):
    colour, red, blue = kind
    assert list(colour.available().items()) == [("blue", blue), ("red", red)]
    assert red.name == "red"
    assert red.kind == "colour"


def test_kinds_do_not_share_a_registry(kind):
    from hf_compress.pruning.criterion import Criterion

    assert not set(kind[0].available()) & set(Criterion.available())


def test_create_builds_by_name_with_arguments(kind):
    colour, red, _ = kind
    assert colour.create("red", depth=0.25) == red(depth=0.25)


def test_create_refuses_an_unknown_name_and_offers_the_nearest(kind):
    with pytest.raises(CompressionError, match=r"unknown colour 'redd'; did you mean 'red'\? \(known: blue, red\)"):
        kind[0].create("redd")


def test_create_refuses_an_unknown_argument_and_offers_the_nearest(kind):
    with pytest.raises(CompressionError, match=r"argument of colour 'red' 'dept'; did you mean 'depth'"):
        kind[0].create("red", dept=1.0)


def test_a_second_strategy_of_the_same_name_is_refused(kind):
    with pytest.raises(CompressionError, match="colour 'red' is already registered"):
        type("OtherRed", (kind[0],), {}, name="red")


def test_a_class_declared_again_at_the_same_place_replaces_itself(kind):
    colour, red, _ = kind
    namespace = {"__module__": red.__module__, "__qualname__": red.__qualname__}
    again = type("Red", (colour,), namespace, name="red")
    assert colour.available()["red"] is again


def test_a_kind_without_a_package_is_a_programming_error():
    with pytest.raises(TypeError, match="names the package its members live in"):
        type("Homeless", (Strategy,), {}, kind="homeless")


def test_dump_collapses_defaults_to_the_bare_name(kind):
    _, red, blue = kind
    assert dump(blue()) == "blue"
    assert dump(red()) == "red"
    assert dump(red(depth=0.25)) == {"name": "red", "depth": 0.25}


def test_full_dump_writes_every_field(kind):
    assert dump(kind[1](), full=True) == {"name": "red", "depth": 0.5, "tags": []}


def test_dump_descends_into_containers_and_nested_dataclasses(kind):
    _, red, blue = kind

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Job:
        colour: object
        others: tuple = ()
        notes: dict = dataclasses.field(default_factory=dict)

    job = Job(colour=red(depth=0.1), others=(blue(), red()), notes={"by": blue()})
    assert dump(job) == {"colour": {"name": "red", "depth": 0.1}, "others": ["blue", "red"], "notes": {"by": "blue"}}


def test_dump_lets_an_object_speak_for_itself(kind):
    class Own:
        def to_plain(self, full):
            return f"mine, full={full}"

    assert dump([Own()], full=True) == ["mine, full=True"]


def test_unknown_without_a_near_name_only_lists_what_is_known():
    assert unknown("fruit", "zzz", ["pear", "apple"]) == "unknown fruit 'zzz' (known: apple, pear)"
    assert unknown("fruit", "zzz", []) == "unknown fruit 'zzz' (known: none)"


def test_a_reference_reads_like_a_citation():
    reference = Reference(authors="A, B", title="On C", year=2020, link="https://x.org", equation="equation 3")
    assert str(reference) == "A, B (2020), On C, equation 3, https://x.org"
    assert str(dataclasses.replace(reference, equation="")) == "A, B (2020), On C, https://x.org"
