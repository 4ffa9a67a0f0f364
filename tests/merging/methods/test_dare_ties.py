import pytest
import torch
from peft.utils import merge_utils

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.dare_ties import DareTies
from hf_compress.merging.methods.ties import Ties
from tests.merging.merged import merged, models, operands_of
from tests.merging.methods.test_dare_linear import drawn_masks


def test_the_consensus_is_that_of_ties_by_hand():
    base = torch.zeros(4)
    ada, bob = torch.tensor([1.0, -2.0, 3.0, 0.0]), torch.tensor([3.0, 1.0, -3.0, 0.0])
    assert merged(DareTies(density=1.0), operands_of([ada, bob], base)).tolist() == [2, -2, 0, 0]


def test_at_density_one_it_is_ties():
    members, base = models((7, 8))
    operands = operands_of(members, base, weight=(0.2, 0.5, 0.9), density=[1.0] * 3)
    for compat in ("paper", "mergekit", "peft"):
        assert torch.equal(merged(DareTies(compat=compat), operands), merged(Ties(compat=compat), operands))


def test_compat_peft_equals_peft_under_the_same_mask(monkeypatch):
    members, base = models((12, 9))
    operands = operands_of(members, base, weight=(0.7, 0.2, 1.5), density=[0.6] * 3)
    masks = iter(drawn_masks(operands, 0.6))
    monkeypatch.setattr(torch, "bernoulli", lambda probabilities: next(masks).float())
    expected = base + merge_utils.dare_ties([m - base for m in members], torch.tensor((0.7, 0.2, 1.5)), 0.6)
    # A few roundings of numbers near 3.
    torch.testing.assert_close(merged(DareTies(compat="peft"), operands), expected, rtol=0, atol=5e-7)


def test_compat_mergekit_sums_without_dividing_where_normalize_is_off():
    members, base = models((12, 9))
    operands = operands_of(members, base, weight=(0.7, 0.2, 1.5))
    method = DareTies(density=0.6, compat="mergekit", normalize=False)
    votes = []
    for member, mask, weight in zip(members, drawn_masks(operands, 0.6), (0.7, 0.2, 1.5), strict=True):
        vector = member - base
        votes.append(weight * vector * mask * vector.abs().sum() / (vector * mask).abs().sum())
    votes = torch.stack(votes)
    positive = votes.sum(dim=0) >= 0
    expected = base + torch.where(positive, votes.clamp(min=0).sum(dim=0), votes.clamp(max=0).sum(dim=0))
    torch.testing.assert_close(merged(method, operands), expected, rtol=0, atol=2e-6)  # norms summed in another order


def test_a_density_that_is_no_share_is_refused():
    with pytest.raises(CompressionError, match=r"density=5 lies outside \[0, 1\]"):
        DareTies(density=5)
