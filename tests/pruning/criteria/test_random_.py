"""Chance, from a seed."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.random_ import Random
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.schedules.cubic import Cubic


def pruned(seed=0, scale=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    with torch.no_grad():
        model[0].weight *= scale
    return prune(model, Pruning(criterion=Random(seed=seed), schedule=Constant(final=0.5)))


def test_the_same_seed_gives_the_same_masks_whatever_the_weights_and_the_random_state():
    first = pruned()
    torch.rand(7)
    second = pruned(scale=5.0)
    assert all(torch.equal(keep, second[name]) for name, keep in first.items())
    assert int(first["0"].sum()) == 128 and not torch.equal(first["0"], first["1"]), "layers of one shape differ"
    assert not torch.equal(first["0"], pruned(seed=1)["0"])


def test_it_leaves_the_random_state_as_it_is_and_looks_at_no_weight():
    before = torch.get_rng_state()
    scores = [Random().score_layer("up", torch.full((30, 40), value), {}) for value in (0.0, 7.0)]
    assert torch.equal(*scores) and torch.equal(torch.get_rng_state(), before)
    assert abs(float(scores[0].mean()) - 0.5) < 5 / (12 * 1200) ** 0.5 and float(scores[0].min()) >= 0


def test_gradual_masks_are_those_of_one_go():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16))
    masks = Masks(model, Pruning(criterion=Random(), schedule=Cubic(final=0.5)))
    for sparsity in (0.1, 0.3, 0.5):
        masks.update(sparsity)
        masks.apply()
    assert torch.equal(masks.keep["0"], pruned()["0"])


def test_a_seed_that_is_none_is_refused():
    with pytest.raises(CompressionError, match="seed=-1 must lie between 0"):
        Random(seed=-1)
