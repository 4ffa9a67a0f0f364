import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.karcher import Karcher
from hf_compress.merging.methods.slerp import Slerp
from tests.merging.methods.applied import merged, random

# factors in double up to tol, a few fp32 products and sums of numbers around 1
CLOSE = {"rtol": 3e-6, "atol": 3e-6}


def slow(tensors, weights):
    """The walk on the vectors themselves, in double."""
    vectors = [tensor.flatten().double() for tensor in tensors]
    weights = [weight / sum(weights) for weight in weights]
    units = [vector / vector.norm() for vector in vectors]
    mean = units[0]
    for _ in range(200):
        step = torch.zeros_like(mean)
        for weight, unit in zip(weights, units, strict=True):
            angle = torch.acos((unit @ mean).clamp(-1, 1))
            if angle > 1e-9:
                step += weight * angle / angle.sin() * (unit - (unit @ mean) * mean)
        size = step.norm()
        if size < 1e-12:
            break
        mean = size.cos() * mean + size.sin() / size * step
        mean /= mean.norm()
    return mean * sum(weight * vector.norm() for weight, vector in zip(weights, vectors, strict=True))


def test_three_axes_meet_in_the_middle_at_their_mean_length():
    result = merged(Karcher(), [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0])
    torch.testing.assert_close(result, torch.full((3,), 2 / math.sqrt(3)), **CLOSE)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (0.1, 0.4, 0.3, 0.9)])
@pytest.mark.parametrize("chunk", [2**18, 17])
def test_it_equals_the_walk_on_the_vectors_themselves(monkeypatch, weights, chunk):
    monkeypatch.setattr("hf_compress.merging.operands.CHUNK", chunk)
    tensors = [random(6, 9, seed=seed) + 0.2 for seed in range(4)]
    result = merged(Karcher(), *tensors, weights=weights)
    torch.testing.assert_close(result.flatten().double(), slow(tensors, weights), **CLOSE)


def test_no_nearby_direction_is_nearer_to_the_members():
    tensors = [random(12, seed=seed) + 0.3 for seed in range(3)]
    mean = merged(Karcher(), *tensors, weights=(1, 2, 3)).double()

    def spread(direction):
        cosines = [direction @ tensor.double() / (direction.norm() * tensor.double().norm()) for tensor in tensors]
        return sum(weight * torch.acos(cosine) ** 2 for weight, cosine in zip((1, 2, 3), cosines, strict=True))

    for seed in range(20):
        assert spread(mean) < spread(mean + 0.01 * random(12, seed=100 + seed).double())


def test_two_members_of_one_length_are_slerped():
    first, second = random(50, seed=1), random(50, seed=2)
    second *= first.norm() / second.norm()
    torch.testing.assert_close(
        merged(Karcher(), first, second, weights=(3, 1)), merged(Slerp(t=0.25), first, second), **CLOSE
    )


def test_a_base_takes_no_part():
    first, second = random(20, seed=1), random(20, seed=2)
    assert torch.equal(merged(Karcher(), first, second, base=random(20, seed=3)), merged(Karcher(), first, second))


def test_zero_members_and_cancelling_directions_have_a_result():
    vector = random(20)
    torch.testing.assert_close(merged(Karcher(), torch.zeros(20), vector), 0.5 * vector, **CLOSE)
    torch.testing.assert_close(merged(Karcher(), vector, -3 * vector), -vector, **CLOSE)
    assert merged(Karcher(), torch.zeros(3), torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_mergekit_gives_short_tensors_no_direction_and_starts_at_the_first():
    short = Karcher(tol=1e-5, compat="mergekit")
    assert merged(short, [1e-6, 0.0], [0.0, 1e-6]).tolist() == [0.0, 0.0]
    torch.testing.assert_close(merged(Karcher(tol=1e-5), [1e-6, 0.0], [0.0, 1e-6]), torch.full((2,), 1e-6 / math.sqrt(2)))
    torch.testing.assert_close(merged(short, [1e-6, 0.0], [0.0, 2.0]), torch.tensor([0.0, 1.0]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(merged(short, [1.0, 0.0], [-3.0, 0.0]), torch.tensor([2.0, 0.0]), **CLOSE)


def test_negative_weights_and_idle_walks_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: karcher needs weights >= 0 .* task_arithmetic"):
        merged(Karcher(), [1.0], [2.0], weights=(2, -1))
    with pytest.raises(CompressionError, match=r"max_iter=0 allows no step"):
        Karcher(max_iter=0)
    with pytest.raises(CompressionError, match=r"tol=0 is not positive"):
        Karcher(tol=0)
