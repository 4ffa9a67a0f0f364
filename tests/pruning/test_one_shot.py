"""Pruning at once, as a recipe says it."""

import dataclasses

import pytest

from hf_compress import CompressionError, Constant, Pruning
from hf_compress._registry import dump
from hf_compress.pruning.allocations.per_layer import PerLayer
from hf_compress.pruning.criteria.movement import Movement
from hf_compress.pruning.one_shot import OneShotPruning, in_its_words
from hf_compress.recipe.build import build


def test_it_is_a_pruning_to_the_sparsity_and_comes_back_from_plain_data():
    made = OneShotPruning(sparsity=0.7)
    assert isinstance(made, Pruning) and (made.final, made.target, made.schedule) == (0.7, 0.7, Constant(final=0.7))
    for full in (False, True):
        plain = dump(made, full)
        assert plain["sparsity"] == 0.7 and "schedule" not in plain and "masks" not in plain
        assert build(OneShotPruning, plain, "pruning", []) == made
    assert dataclasses.replace(made, sparsity=0.2).final == 0.2


def test_what_only_a_training_has_is_refused_with_what_to_write():
    problems = []
    build(OneShotPruning, {"schedule": {"name": "cubic", "final": 0.8}, "masks": "from_zeros"}, "pruning", problems)
    assert [str(problem) for problem in problems] == [
        "pruning.schedule: nothing is trained here, so there is no schedule; write sparsity: 0.8",
        "pruning.masks: nothing is trained here, and zeros that are there stay by themselves; leave it out",
    ]
    with pytest.raises(CompressionError, match="movement scores by what gradients add up to .* here nothing is trained"):
        OneShotPruning(criterion=Movement())


def test_refusals_name_the_key_that_there_is():
    allocation = PerLayer(sparsities={"a": 0.1})
    with pytest.raises(CompressionError, match=r"but sparsity is 0\.5; set it to 0\.1000"), in_its_words():
        allocation.check_layers({"a": (4, 4)}, 0.5)
