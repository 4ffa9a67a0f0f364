"""One sparsity, shared so that the sum of what layers cost is least."""

import itertools

import numpy
import pytest

from hf_compress.pruning.share_out import share_out


def cost(points, share):
    """The curve as the docstring has it, where it is convex."""
    at, roots = [0.0, *(s for s, _ in points)], [0.0, *(c**0.5 for _, c in points)]
    return float(numpy.interp(share, at, roots)) ** 2


def test_two_layers_share_so_that_a_weight_costs_the_same_in_both():
    # f = (c s)^2: 2 c^2 s / n is the same for both, so with n = 1 and c^2 = 1 and 4 the shares are 4 : 1, and of n = 1 and
    # 2 with the same c^2 they are 1 : 2.
    shares, predicted = share_out({"a": [(0.9, 0.81)], "b": [(0.9, 4 * 0.81)]}, {"a": 1000, "b": 1000}, 0.25)
    assert shares == pytest.approx({"a": 0.4, "b": 0.1}, abs=0.003)  # within a step
    assert predicted == pytest.approx(0.4**2 + 4 * 0.1**2, abs=1e-4)
    shares, _ = share_out({"a": [(0.9, 0.81)], "b": [(0.9, 0.81)]}, {"a": 1000, "b": 2000}, 0.5)
    assert shares == pytest.approx({"a": 0.3, "b": 0.6}, abs=0.005)


def test_no_other_sharing_of_a_grid_costs_less():
    curves = {"a": [(0.3, 0.01), (0.6, 0.2), (0.9, 2.0)], "b": [(0.3, 0.02), (0.6, 0.08), (0.9, 0.3)], "c": [(0.9, 1.0)]}
    sizes = {"a": 300, "b": 200, "c": 500}
    shares, predicted = share_out(curves, sizes, 0.5)
    assert sum(shares[name] * sizes[name] for name in sizes) == pytest.approx(500)
    assert predicted == pytest.approx(sum(cost(curves[name], shares[name]) for name in sizes), abs=1e-4)
    grid = numpy.linspace(0, 0.9, 46)
    for a, b in itertools.product(grid, grid):
        c = (500 - 300 * a - 200 * b) / 500
        if 0 <= c <= 0.9:
            assert predicted <= cost(curves["a"], a) + cost(curves["b"], b) + cost(curves["c"], c) + 1e-4


def test_layers_that_cost_nothing_share_evenly_and_chance_gains_count_as_nothing():
    free = {"a": [(0.5, -0.1), (0.9, 0.0)], "b": [(0.5, 0.0), (0.9, -1.0)]}
    assert share_out(free, {"a": 10, "b": 30}, 0.45)[0] == pytest.approx({"a": 0.45, "b": 0.45})


def test_a_layer_without_points_stays_and_what_cannot_be_reached_is_refused():
    curves = {"a": [(0.9, 1.0)], "b": []}
    assert share_out(curves, {"a": 100, "b": 100}, 0.45)[0] == pytest.approx({"a": 0.9, "b": 0.0})
    with pytest.raises(ValueError, match=r"reach an overall sparsity of 0.45, and 0.5 is asked for"):
        share_out(curves, {"a": 100, "b": 100}, 0.5)
