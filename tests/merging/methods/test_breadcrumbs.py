import pytest
import torch
from peft.utils import merge_utils

from hf_compress._errors import CompressionError
from hf_compress.merging import operands as operands_module
from hf_compress.merging.methods.breadcrumbs import Breadcrumbs
from tests.merging.merged import merged, models, operands_of


def test_the_largest_and_the_smallest_are_left_out_by_hand():
    base = torch.zeros(10)
    member = torch.tensor([1.0, -10.0, 3.0, 9.0, -5.0, 2.0, 8.0, -4.0, 7.0, 6.0])
    result = merged(Breadcrumbs(density=0.3, gamma=0.2), operands_of([member], base, weight=[0.5]))
    assert result.tolist() == [0, 0, 0, 0, 0, 0, 4, 0, 3.5, 3]


def middle(vector, first, count):
    """Ranks first .. first + count - 1 of the magnitudes, largest first, ties by index: slow and plain."""
    flat = vector.reshape(-1).tolist()
    order = sorted(range(len(flat)), key=lambda i: (-abs(flat[i]), i))
    kept = set(order[first : first + count])
    return torch.tensor([value if i in kept else 0.0 for i, value in enumerate(flat)]).reshape(vector.shape)


def test_it_equals_the_plain_formula(monkeypatch):
    monkeypatch.setattr(operands_module, "CHUNK", 64)
    members, base = models((19, 10))
    members = [(member * 8).round() / 8 for member in members]  # with ties
    base = (base * 8).round() / 8
    weights, densities, gammas = (0.5, 1.0, -0.3), (0.3, 0.5, 0.9), (0.0, 0.05, 0.1)
    operands = operands_of(members, base, weight=weights, density=densities, gamma=gammas)
    expected = base.clone()
    for member, weight, density, gamma in zip(members, weights, densities, gammas, strict=True):
        expected += 0.5 * weight * middle(member - base, round(gamma * 190), round(density * 190))
    # A few roundings of numbers near 3.
    torch.testing.assert_close(merged(Breadcrumbs(scale=0.5), operands), expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize(("density", "gamma", "first", "count"), [(0.55, 0.1, 1, 5), (0.95, 0.2, 1, 9), (1.0, 0.5, 0, 10)])
def test_compat_mergekit_removes_fewer_outliers_rather_than_keep_fewer(density, gamma, first, count):
    vector = torch.tensor([1.0, -10.0, 3.0, 9.0, -5.0, 2.0, 8.0, -4.0, 7.0, 6.0])
    method = Breadcrumbs(density=density, gamma=gamma, compat="mergekit")
    assert torch.equal(merged(method, operands_of([vector], torch.zeros(10))), middle(vector, first, count))


def test_compat_peft_without_outliers_equals_its_magnitude_prune():
    members, base = models((13, 11))
    weights = (0.7, -0.2, 1.5)
    expected = base + merge_utils.magnitude_prune([m - base for m in members], torch.tensor(weights), 0.37)
    method = Breadcrumbs(density=0.37, gamma=0.0, compat="peft")
    torch.testing.assert_close(merged(method, operands_of(members, base, weight=weights)), expected, rtol=0, atol=1e-6)


def test_shares_that_exceed_one_are_refused():
    with pytest.raises(CompressionError, match=r"breadcrumbs: density=0.9 and gamma=0.2 add up to more than 1"):
        Breadcrumbs(density=0.9, gamma=0.2)
    members, base = models((4,))
    with pytest.raises(CompressionError, match=r"layer.weight: bob: density=1.0 and gamma=0.01"):
        Breadcrumbs().survey(operands_of(members, base, density=(0.1, 1.0, 0.1)))
