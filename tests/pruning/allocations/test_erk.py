"""Erdos-Renyi-kernel densities."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.erk import ERK
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant


def test_two_linears_by_hand():
    # (8 + 2) / 16 and (8 + 8) / 64: raw densities 5/8 and 1/4, 10 and 16 weights at epsilon 1. Half of 80 is 40: 40 / 26
    # would make the first 0.96 dense and the second 0.38.
    shares = ERK().shares({"a": torch.zeros(2, 8), "b": torch.zeros(8, 8)}, 0.5)
    assert shares == pytest.approx({"a": 1 - 5 / 8 * 40 / 26, "b": 1 - 1 / 4 * 40 / 26})


def test_a_density_above_one_is_one_and_the_rest_is_solved_again():
    # Of 80 weights 48 stay: 48 / 26 * 5/8 is above 1, so the first keeps its 16 and the second 32 of 64.
    assert ERK().shares({"a": torch.zeros(2, 8), "b": torch.zeros(8, 8)}, 0.4) == pytest.approx({"a": 0.0, "b": 0.5})


def test_the_kernels_sides_add_to_the_sum():
    shapes = {"conv": (16, 8, 3, 3), "linear": (10, 100)}
    shares = ERK().shares_of_shapes(shapes, 0.9, 0.9)
    densities = {name: 1 - share for name, share in shares.items()}
    wanted = ((16 + 8 + 3 + 3) / (16 * 8 * 9)) / ((10 + 100) / 1000)
    assert densities["conv"] / densities["linear"] == pytest.approx(wanted)
    assert densities["conv"] * 1152 + densities["linear"] * 1000 == pytest.approx(0.1 * 2152)


@pytest.mark.parametrize("sparsity", [0.0, 0.05, 0.3, 0.6, 0.95])
def test_the_overall_sparsity_comes_out_whatever_is_dense(sparsity):
    shapes = {"tiny": (2, 3), "wide": (4, 400), "square": (60, 60), "conv": (8, 4, 5, 5)}
    sizes = {"tiny": 6, "wide": 1600, "square": 3600, "conv": 800}
    shares = ERK().shares_of_shapes(shapes, sparsity, 0.95)
    assert all(-1e-12 <= share <= 1 for share in shares.values())
    assert sum(shares[name] * size for name, size in sizes.items()) == pytest.approx(sparsity * 6006, abs=1e-9)


def test_pruning_a_network_gives_each_layer_its_density():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 16, 3), nn.Flatten(), nn.Linear(144, 40), nn.Linear(40, 5))
    job = Pruning(allocation=ERK(), schedule=Constant(final=0.8), targets=["Conv2d", "Linear"])
    prune(model, job)
    found = measure_sparsity(model, job)
    expected = ERK().shares_of_shapes({"0": (16, 4, 3, 3), "2": (40, 144), "3": (5, 40)}, 0.8, 0.8)
    assert expected["3"] < expected["0"] < expected["2"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.003)
    assert found[""] == pytest.approx(0.8, abs=1e-3)


def test_a_pattern_that_fixes_each_layers_sparsity_is_refused():
    with pytest.raises(CompressionError, match="pattern n_m fixes the sparsity of each layer, so the allocation erk"):
        Pruning(pattern=NM(), allocation=ERK())
