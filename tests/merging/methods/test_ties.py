import pytest
import torch
from peft.utils import merge_utils

from hf_compress._errors import CompressionError
from hf_compress.merging import operands as operands_module
from hf_compress.merging.methods.ties import Ties
from tests.merging.merged import merged, models, operands_of


def test_trim_elect_and_mean_by_hand():
    base = torch.full((4,), 10.0)
    ada, bob = base + torch.tensor([1.0, -2.0, 0.5, 0.0]), base + torch.tensor([3.0, 1.0, -4.0, 0.0])
    # Trimmed to two each: [1, -2, 0, 0] and [3, 0, -4, 0].
    result = merged(Ties(density=0.5), operands_of([ada, bob], base))
    assert (result - base).tolist() == [2, -2, -4, 0]


def reference(members, base, weights, densities, scale):
    """The formulas in float64, one element at a time."""
    trimmed = []
    for member, density in zip(members, densities, strict=True):
        vector = (member - base).reshape(-1)
        order = sorted(range(len(vector)), key=lambda i: (-abs(vector[i].item()), i))
        kept = set(order[: round(density * len(vector))])
        trimmed.append([vector[i].double().item() if i in kept else 0.0 for i in range(len(vector))])
    result = []
    for i, start in enumerate(base.reshape(-1).double().tolist()):
        votes = [weight * vector[i] for weight, vector in zip(weights, trimmed, strict=True)]
        agree = [j for j, vote in enumerate(votes) if vote * sum(votes) > 0]
        mean = sum(votes[j] for j in agree) / sum(weights[j] for j in agree) if agree else 0.0
        result.append(start + scale * mean)
    return torch.tensor(result).reshape(base.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_equals_the_plain_formula(dtype, monkeypatch):
    monkeypatch.setattr(operands_module, "CHUNK", 100)
    members, base = models((23, 17), dtype=dtype)
    weights, densities = (0.5, 1.0, 0.3), (0.3, 0.5, 1.0)
    result = merged(Ties(scale=0.7), operands_of(members, base, weight=weights, density=densities))
    expected = reference([m.float() for m in members], base.float(), weights, densities, 0.7)
    torch.testing.assert_close(result, expected, rtol=0, atol=5e-7)  # a few roundings of numbers near 3


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
@pytest.mark.filterwarnings("ignore:The density")
def test_compat_peft_equals_peft(density):
    members, base = models((33, 21))
    weights = (0.7, -0.2, 1.5)
    vectors = [member - base for member in members]
    expected = base + merge_utils.ties(vectors, torch.tensor(weights), density)
    result = merged(Ties(compat="peft"), operands_of(members, base, weight=weights, density=[density] * 3))
    torch.testing.assert_close(result, expected, rtol=0, atol=5e-7)  # a few roundings of numbers near 3


def test_compat_mergekit_keeps_at_least_one_and_cuts_the_count_off():
    base = torch.zeros(5)
    member = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    kept = {
        (compat, density): int((merged(Ties(density=density, compat=compat), operands_of([member], base)) != 0).sum())
        for compat in ("paper", "mergekit")
        for density in (0.05, 0.55)
    }
    assert kept == {("paper", 0.05): 0, ("paper", 0.55): 3, ("mergekit", 0.05): 1, ("mergekit", 0.55): 2}


def test_compat_mergekit_ranks_differences_as_they_are_stored():
    base = torch.tensor([-256.0, -256.0], dtype=torch.bfloat16)
    member = torch.tensor([0.0, 1.0], dtype=torch.bfloat16)  # differences 256 and 257; bfloat16 has no 257
    paper, mergekit = (Ties(density=0.5, compat=compat) for compat in ("paper", "mergekit"))
    assert merged(paper, operands_of([member], base)).tolist() == [-256, 1]
    assert merged(mergekit, operands_of([member], base)).tolist() == [0, -256]


def test_equal_magnitudes_stay_in_the_order_of_their_index():
    base, member = torch.zeros(6), torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    assert merged(Ties(density=0.5), operands_of([member], base)).tolist() == [1, -1, 1, 0, 0, 0]


def test_a_member_that_holds_nan_is_refused_by_name():
    members, base = models((10, 10))
    members[1][3, 3] = float("nan")
    with pytest.raises(CompressionError, match=r"layer.weight: bob holds NaN"):
        Ties().survey(operands_of(members, base))
