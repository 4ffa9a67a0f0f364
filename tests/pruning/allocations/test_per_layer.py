"""Sparsities that are written down."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.allocations.per_layer import PerLayer
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.schedules.linear import LinearRamp

SHAPES = {"first.up": (4, 10), "first.down": (10, 4), "second.up": (4, 10), "second.down": (10, 8)}


def shares(sparsities, sparsity=0.5, final=0.5):
    return PerLayer(sparsities=sparsities).shares_of_shapes(SHAPES, sparsity, final)


def test_the_others_share_what_is_left():
    # 200 weights, 100 zeros: 10 + 36 are written for 80 of them, so 54 of 120 are left, 0.45.
    assert shares({"first.up": 0.25, "re:first.*": 0.9}) == pytest.approx(
        {"first.up": 0.25, "first.down": 0.9, "second.up": 0.45, "second.down": 0.45}
    )


def test_half_way_every_layer_has_half_of_its_own():
    halves, ends = shares({"re:.*up": 0.2}, sparsity=0.25), shares({"re:.*up": 0.2})
    assert halves == pytest.approx({name: share / 2 for name, share in ends.items()})
    assert shares({}, sparsity=0.0, final=0.0) == dict.fromkeys(SHAPES, 0.0)


def test_a_gradual_run_ends_with_the_written_sparsities():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 10))
    job = Pruning(allocation=PerLayer(sparsities={"1": 0.2}), schedule=LinearRamp(final=0.5, begin=0, end=4, every=1))
    masks = Masks(model, job)
    for step in range(1, 5):
        masks.update(job.schedule.sparsity(step, 4))
        masks.apply()
        assert masks.num_pruned() >= masks.fewest_zeros(job.schedule.sparsity(step, 4))
    assert measure_sparsity(model, job) == pytest.approx({"": 0.5, "0": 0.65, "1": 0.2})


@pytest.mark.parametrize(
    ("sparsities", "sentence"),
    [
        ({"third.up": 0.5}, "sparsities: 'third.up' matches none of the 4 layers that are pruned, e.g. first.up; write"),
        ({"re:up": 0.5}, "sparsities: 're:up' matches none of the 4 layers"),
        ({"re:first.*": 0.5, "re:.*up": 0.1}, "'re:first.*' and 're:.*up' say different things of first.up; make one"),
        ({"re:.*": 0.4}, "name every layer and come to 0.4000 of all weights, but schedule.final is 0.5; set it to 0.4000"),
        ({"re:first.*": 0.0, "second.up": 0.0}, r"without one would need 1\.2500 to reach schedule.final=0.5"),
        ({"re:.*up": 0.99, "first.down": 0.99}, r"without one would need -0\.2350 to reach"),
    ],
)
def test_what_does_not_fit_the_layers_is_refused(sparsities, sentence):
    with pytest.raises(CompressionError, match=sentence):
        PerLayer(sparsities=sparsities).check_layers(SHAPES, 0.5)


def test_values_that_are_none_are_refused_when_it_is_made():
    with pytest.raises(CompressionError, match=r"sparsities: a: 1 is not a sparsity in \[0, 1\)"):
        PerLayer(sparsities={"a": 1.0})
    with pytest.raises(CompressionError, match="'re:\\(' is not a regular expression"):
        Allocation.create("per_layer", sparsities={"re:(": 0.5})


def test_a_pattern_that_matches_nothing_is_refused_before_anything_is_pruned():
    model = nn.Sequential(nn.Linear(20, 20))
    before = model[0].weight.clone()
    with pytest.raises(CompressionError, match="pruning.allocation: sparsities: 'head' matches none of the 1 layers"):
        prune(model, Pruning(allocation=PerLayer(sparsities={"head": 0.1}), schedule=Constant(final=0.5)))
    assert torch.equal(model[0].weight, before)
