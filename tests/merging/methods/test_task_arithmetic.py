import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.methods.task_arithmetic import TaskArithmetic
from tests.merging.methods.applied import merged, random


def test_task_vectors_are_weighted_scaled_and_added():
    # base 1; task vectors 2 and -4; 1 + 0.5 * (3 * 2 + 1 * -4) = 2, normalized 1 + 0.5 * 2 / 4 = 1.25
    assert merged(TaskArithmetic(scale=0.5), [3.0], [-3.0], base=[1.0], weights=(3, 1)).tolist() == [2.0]
    normalized = TaskArithmetic(scale=0.5, normalize=True)
    assert merged(normalized, [3.0], [-3.0], base=[1.0], weights=(3, 1)).tolist() == [1.25]


def test_adding_and_taking_away_the_same_task_leaves_the_base():
    base, member = random(9, 11, seed=1), random(9, 11, seed=2)
    assert torch.equal(merged(TaskArithmetic(), member, member, base=base, weights=(1, -1)), base)


def test_normalized_it_is_the_weighted_average():
    tensors = [random(50, seed=seed) for seed in range(3)]
    result = merged(TaskArithmetic(normalize=True), *tensors, base=random(50, seed=9), weights=(0.2, 0.5, 0.9))
    # a handful of fp32 roundings of numbers around 1
    torch.testing.assert_close(result, merged(Linear(), *tensors, weights=(0.2, 0.5, 0.9)), rtol=1e-5, atol=2e-6)


def test_normalizing_by_zero_is_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: the weights \[1, -1\] sum to 0"):
        merged(TaskArithmetic(normalize=True), [1.0], [2.0], base=[0.0], weights=(1, -1))
