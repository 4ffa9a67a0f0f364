"""Which seeds members get, and where they act."""

import pytest

from hf_compress import CompressionError
from hf_compress.jobs.train_ensemble.diversities.seeds import Seeds

BASE = {"job": "train-member", "model": "m", "training": {"max_steps": 4, "seed": 7}}


def test_seeds_are_those_that_follow_the_recipes_own_and_nothing_else_differs():
    made = Seeds(num_members=3).recipes(BASE, 7, lambda: 4)
    assert list(made) == ["seed-7", "seed-8", "seed-9"]
    assert [one["training"] for one in made.values()] == [{"max_steps": 4, "seed": seed} for seed in (7, 8, 9)]
    assert all({**one, "training": 0} == {**BASE, "training": 0} for one in made.values())
    assert BASE["training"] == {"max_steps": 4, "seed": 7}


def test_without_initialisation_the_order_of_rows_alone_differs():
    made = Seeds(num_members=2, initialisation=False).recipes(BASE, 7, lambda: 4)
    assert [one["training"] for one in made.values()] == [{"max_steps": 4, "seed": 7, "data_seed": own} for own in (7, 8)]


def test_one_member_is_refused():
    with pytest.raises(CompressionError, match="num_members=1 must be 2 or more"):
        Seeds(num_members=1)
