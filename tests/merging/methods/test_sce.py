import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.sce import Sce
from tests.merging.methods.applied import merged, random


def slow(base, members, share, mergekit):
    """Element by element, in lists of double."""
    base = base.flatten().double().tolist()
    deltas = [[x - y for x, y in zip(member.flatten().double().tolist(), base, strict=True)] for member in members]
    count, size = len(deltas), len(base)
    if share < 1:
        means = [sum(values) / count for values in zip(*deltas, strict=True)]
        variances = [sum((delta[e] - means[e]) ** 2 for delta in deltas) / count for e in range(size)]
        varying = [e for e in range(size) if variances[e] > 0]
        k = int(share * len(varying)) if mergekit else round(share * size)
        kept = set(sorted(varying, key=lambda e: (-variances[e], e))[:k])
        deltas = [[value if e in kept else 0.0 for e, value in enumerate(delta)] for delta in deltas]
    energies = [sum(value**2 for value in delta) for delta in deltas]
    even = sum(energies) / size < 1e-6 if mergekit else sum(energies) == 0
    weights = [1 / count if even else energy / sum(energies) for energy in energies]
    result = []
    for e in range(size):
        values = [delta[e] for delta in deltas]
        sign = 1 if sum(values) >= 0 else -1
        left = [(weight, value) for weight, value in zip(weights, values, strict=True) if value * sign > 0]
        result.append(base[e] + (sum(w * v for w, v in left) / sum(w for w, _ in left) if left else 0.0))
    return torch.tensor(result, dtype=torch.float64)


def test_the_minority_is_erased_and_the_rest_weighted_by_its_change():
    # d = (3, 1) and (-1, 2): energies 10 and 5, coefficients 2/3 and 1/3. Element 0: 3 wins alone.
    # Element 1: (2/3 * 1 + 1/3 * 2) / 1 = 4/3.
    result = merged(Sce(), [13.0, 11.0], [9.0, 12.0], base=[10.0, 10.0])
    torch.testing.assert_close(result, torch.tensor([13.0, 10 + 4 / 3]))


def test_only_the_elements_that_vary_most_are_selected():
    # variances 4, 0, 1, 0.25; half of four elements: the first and the third
    result = merged(Sce(select_topk=0.5), [4.0, 1.0, 2.0, 1.0], [0.0, 1.0, 0.0, 0.0], base=[0.0] * 4)
    assert result.tolist() == [4.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize("compat", ["paper", "mergekit"])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.1, 0.0])
@pytest.mark.parametrize("chunk", [2**18, 7])
def test_it_equals_the_definition_element_by_element(monkeypatch, compat, share, chunk):
    monkeypatch.setattr("hf_compress.merging.operands.CHUNK", chunk)
    # coarse values and four members, so that variances are exact in fp32: many are equal, some 0
    base = random(10, 12, seed=9).mul(4).round() / 4
    members = [base + random(10, 12, seed=seed).mul(2).round() / 8 for seed in range(4)]
    expected = slow(base, members, share, compat == "mergekit")
    result = merged(Sce(select_topk=share, compat=compat), *members, base=base)
    # fp32 weights, a sum of four products and a division, numbers around 1
    torch.testing.assert_close(result.flatten().double(), expected, rtol=1e-6, atol=1e-6)


def test_the_share_is_of_all_elements_by_mergekit_of_those_that_vary():
    base, first = [0.0] * 4, [4.0, 3.0, 0.0, 0.0]
    assert merged(Sce(select_topk=0.5), first, base, base=base).tolist() == first
    assert merged(Sce(select_topk=0.5, compat="mergekit"), first, base, base=base).tolist() == [4.0, 0.0, 0.0, 0.0]


def test_mergekit_weighs_small_changes_equally():
    # energies 1e-6 and 9e-6 over two elements: coefficients 0.1 and 0.9, or a half each where their sum is below 1e-6
    members, base = ([1e-4, 0.0], [3e-4, 0.0]), [0.0, 0.0]
    paper, mergekit = (merged(Sce(compat=compat), *members, base=base) for compat in ("paper", "mergekit"))
    torch.testing.assert_close(paper, torch.tensor([2.8e-4, 0.0]), rtol=1e-6, atol=0)
    torch.testing.assert_close(mergekit, torch.tensor([2e-4, 0.0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("compat", ["paper", "mergekit"])
def test_one_member_alone_and_members_that_equal_the_base(compat):
    base, member = random(4, 5, seed=1), random(4, 5, seed=2)
    torch.testing.assert_close(merged(Sce(compat=compat), member, base=base), member, rtol=1e-6, atol=1e-6)
    assert torch.equal(merged(Sce(select_topk=0.5, compat=compat), member, base=base), base)
    assert torch.equal(merged(Sce(select_topk=0.5, compat=compat), base, base, base=base), base)


def test_weights_and_a_share_above_one_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: sce has no weights"):
        merged(Sce(), [1.0], [2.0], base=[0.0], weights=(0.3, 0.7))
    with pytest.raises(CompressionError, match=r"select_topk=30 is not a share"):
        Sce(select_topk=30)
