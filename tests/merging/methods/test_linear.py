import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.linear import Linear
from tests.merging.methods.applied import merged, random


def test_weights_are_divided_by_their_sum():
    # (1 * 2 + 3 * 6) / 4 = 5 and (1 * -4 + 3 * 0) / 4 = -1
    assert merged(Linear(), [2.0, -4.0], [6.0, 0.0], weights=(1, 3)).tolist() == [5.0, -1.0]


def test_without_normalization_the_weighted_sum_is_kept():
    assert merged(Linear(normalize=False), [2.0, -4.0], [6.0, 0.0], weights=(1, 3)).tolist() == [20.0, -4.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_mean_of_equal_models_is_the_model(dtype):
    model = random(5, 7, dtype=dtype)
    before = model.clone()
    assert torch.equal(merged(Linear(), model, model), model.float())
    assert torch.equal(model, before)


def test_half_precision_is_summed_in_fp32():
    first, second = random(64, seed=1, dtype=torch.bfloat16), random(64, seed=2, dtype=torch.bfloat16)
    expected = (0.3 * first.double() + 0.9 * second.double()) / 1.2
    # three fp32 roundings of numbers around 1
    torch.testing.assert_close(merged(Linear(), first, second, weights=(0.3, 0.9)).double(), expected, rtol=1e-6, atol=1e-6)


def test_weights_that_sum_to_zero_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: the weights \[1, -1\] sum to 0"):
        merged(Linear(), [1.0], [2.0], weights=(1, -1))
    assert merged(Linear(normalize=False), [1.0], [2.0], weights=(1, -1)).tolist() == [-1.0]
