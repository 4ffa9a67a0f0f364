import pytest
import torch

from hf_compress._selection import kth_largest


@pytest.mark.parametrize("k", [1, 2, 57, 499, 999, 1000])
@pytest.mark.parametrize("decimals", [1, 8])
def test_the_kth_largest_is_that_of_a_sort(k, decimals):
    numbers = torch.rand(1000, generator=torch.Generator().manual_seed(0)).mul(100).round(decimals=decimals)
    numbers[:40] = 0
    value, ties = kth_largest(lambda: numbers.split(77), k)
    ranked = numbers.sort(descending=True).values
    assert value == ranked[k - 1].item()
    assert ties == int((ranked[:k] == value).sum())


def test_every_magnitude_of_a_float_is_told_apart():
    numbers = torch.tensor([1e-45, 3e-45, 1e-20, 1.0, 1.0000001, 3e38])
    assert [kth_largest(lambda: [numbers], k)[0] for k in range(1, 7)] == numbers.flip(0).tolist()
