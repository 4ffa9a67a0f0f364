"""Which samples members get."""

import pytest

from hf_compress import CompressionError
from hf_compress.jobs.train_ensemble.diversities.bagging import Bagging

BASE = {"job": "train-member", "model": "m", "training": {"max_steps": 4}}


def test_each_member_has_a_sample_and_a_seed_of_its_own():
    made = Bagging(num_members=2).recipes(BASE, 3, lambda: 4)
    assert made == {
        f"bag-{seed}": {**BASE, "bootstrap": seed, "training": {"max_steps": 4, "seed": seed}} for seed in (3, 4)
    }


def test_members_may_begin_alike_and_differ_by_their_samples():
    made = Bagging(num_members=2, initialisation=False).recipes(BASE, 3, lambda: 4)
    assert [one["training"] for one in made.values()] == [{"max_steps": 4, "data_seed": own} for own in (3, 4)]
    assert [one["bootstrap"] for one in made.values()] == [3, 4]


def test_one_member_is_refused():
    with pytest.raises(CompressionError, match="num_members=1 must be 2 or more"):
        Bagging(num_members=1)
    with pytest.raises(CompressionError, match="num_members=1000000 must be 1000 or fewer"):
        Bagging(num_members=1_000_000)
