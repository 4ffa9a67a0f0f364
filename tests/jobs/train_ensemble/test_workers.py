"""Members in processes of their own: how many at a time, what becomes of their words, and of the others when one fails."""

import sys
import time
from types import SimpleNamespace

import pytest

from hf_compress import CompressionError
from hf_compress.jobs.train_ensemble import workers

SCRIPT = """
import pathlib, signal, sys, time
name, place = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(place, name + ".told").touch(), sys.exit(143)))
pathlib.Path(place, name + ".began").touch()
if name == "bad":
    print("hf-compress: data.path: there is no file x")
    sys.exit(2)
time.sleep(30 if name == "long" else 0.05)
pathlib.Path(place, name + ".ended").touch()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Processes that only say and wait, in place of trainings."""

    def command(member, file):
        return [sys.executable, "-c", SCRIPT, member.name, str(tmp_path)]

    monkeypatch.setattr(workers, "_command", command)
    return tmp_path


def member(name):
    return SimpleNamespace(name=name, recipe=SimpleNamespace(to_yaml=lambda: f"name: {name}\n"))


@pytest.mark.parametrize("number", [2, 10**9])
def test_all_are_trained_and_each_has_a_recipe_and_a_log(place, number):
    workers.train_in_workers([member(name) for name in "abc"], number, place)
    assert sorted(file.name for file in place.glob("*.ended")) == ["a.ended", "b.ended", "c.ended"]
    assert sorted(file.name for file in place.glob("*.log")) == ["a.log", "b.log", "c.log"]
    assert (place / "b.yaml").read_text() == "name: b\n"


def test_when_one_fails_it_is_named_and_the_others_are_told_to_end(place):
    def late(name):
        one = member(name)
        if name == "bad":  # begins when the other listens
            one.recipe.to_yaml = lambda: _when(place / "long.began") or "x: 1\n"
        return one

    with pytest.raises(CompressionError, match=r"members\.bad: data\.path: there is no file x; all that it said is in"):
        workers.train_in_workers([late("long"), late("bad"), late("never")], 2, place)
    assert (place / "long.told").exists() and not (place / "never.began").exists()


def _when(file):
    for _ in range(1000):
        if file.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{file} never came")
