import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.slerp import Slerp
from tests.merging.methods.applied import merged, random

# factors in double, two fp32 products and a sum of numbers around 1
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def test_a_third_of_a_right_angle_is_thirty_degrees():
    result = merged(Slerp(t=1 / 3), [2.0, 0.0], [0.0, 2.0])
    torch.testing.assert_close(result, torch.tensor([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]), **CLOSE)


def test_vectors_of_one_length_keep_it():
    first, second = random(40, 50, seed=1), random(40, 50, seed=2)
    second *= first.norm() / second.norm()
    for t in (0.1, 0.5, 0.8):
        assert merged(Slerp(t=t), first, second).norm().item() == pytest.approx(first.norm().item(), rel=1e-6)


def test_the_base_is_the_first_end_of_a_single_member():
    base, member = random(30, seed=1), random(30, seed=2)
    assert torch.equal(merged(Slerp(t=0.2), member, base=base), merged(Slerp(t=0.2), base, member))
    torch.testing.assert_close(merged(Slerp(t=0.0), member, base=base), base, **CLOSE)
    torch.testing.assert_close(merged(Slerp(t=1.0), member, base=base), member, **CLOSE)


@pytest.mark.parametrize("second", [[2.0, 4.0], [-1.0, -2.0], [0.0, 0.0]], ids=["parallel", "opposed", "zero"])
def test_without_an_angle_the_straight_line_is_taken(second):
    expected = 0.75 * torch.tensor([1.0, 2.0]) + 0.25 * torch.tensor(second)
    torch.testing.assert_close(merged(Slerp(t=0.25), [1.0, 2.0], second), expected, **CLOSE)


def test_mergekits_threshold_draws_the_line_from_two_degrees_on():
    angle = 0.03  # cos = 0.99955, above 0.9995
    first, second = [1.0, 0.0], [math.cos(angle), math.sin(angle)]
    line = 0.5 * torch.tensor(first) + 0.5 * torch.tensor(second)
    torch.testing.assert_close(merged(Slerp(compat="mergekit"), first, second), line, **CLOSE)
    assert merged(Slerp(), first, second).norm().item() == pytest.approx(1, abs=1e-6)
    assert line.norm().item() < 1 - 1e-4


def test_mergekit_takes_a_zero_tensor_for_orthogonal():
    result = merged(Slerp(t=0.25, compat="mergekit"), [0.0, 0.0], [1.0, 2.0])
    torch.testing.assert_close(result, math.sin(math.pi / 8) * torch.tensor([1.0, 2.0]), **CLOSE)


def test_three_models_one_model_weights_and_a_wrong_t_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: slerp has two ends, .* use nuslerp"):
        merged(Slerp(), [1.0], [2.0], base=[3.0])
    with pytest.raises(CompressionError, match=r"one member is given; add a base or a second member"):
        merged(Slerp(), [1.0])
    with pytest.raises(CompressionError, match=r"layer\.weight: slerp has no weights, .* set t"):
        merged(Slerp(), [1.0], [2.0], weights=(0.4, 0.6))
    with pytest.raises(CompressionError, match=r"t=1\.5 lies outside \[0, 1\]"):
        Slerp(t=1.5)
