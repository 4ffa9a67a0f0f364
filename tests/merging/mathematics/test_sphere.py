import math

import torch

from hf_compress.merging.mathematics.sphere import arc, exponential, length, logarithm, units
from tests.merging.methods.applied import random

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def test_walking_along_the_logarithm_arrives():
    vectors = random(3, 8).double()
    _, inverses, inner = units(vectors @ vectors.T)
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    step = logarithm(start, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), inner)
    torch.testing.assert_close(math.cos(length(step, inner)), inner[0, 1].item(), **CLOSE)
    arrived = (exponential(start, step, inner) * inverses) @ vectors
    # acos near cosines around 0 loses no digits; a few dozen roundings in double
    torch.testing.assert_close(arrived, vectors[1] / vectors[1].norm(), rtol=1e-10, atol=1e-10)


def test_zero_vectors_have_no_direction():
    lengths, inverses, inner = units(torch.tensor([[4.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
    assert lengths.tolist() == [2.0, 0.0] and inverses.tolist() == [0.5, 0.0]
    assert inner.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_a_vector_opposite_to_the_point_is_left_out():
    _, _, inner = units(torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64))
    point, weights = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.5, 0.5]).double()
    assert length(logarithm(point, weights, inner), inner) == 0.0


def test_the_factors_of_an_arc_and_of_a_line():
    factors = arc(torch.tensor([0.0, 1.0]).double(), torch.tensor([False, True]), 0.25)
    expected = [[math.sin(3 * math.pi / 8), 0.75], [math.sin(math.pi / 8), 0.25]]
    torch.testing.assert_close(factors, torch.tensor(expected, dtype=torch.float64), **CLOSE)
