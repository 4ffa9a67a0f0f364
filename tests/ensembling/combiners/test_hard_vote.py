"""p_c = (1 - e) v_c + e q_c."""

import math

import torch

from hf_compress.ensembling.combiners.hard_vote import HardVote


def reference(each, shares):
    classes = range(len(each[0]))
    votes = [sum(share for share, row in zip(shares, each, strict=True) if row.index(max(row)) == c) for c in classes]
    rest = [math.prod(row[c] ** share for share, row in zip(shares, each, strict=True)) for c in classes]
    return [0.999 * votes[c] + 0.001 * rest[c] / sum(rest) for c in classes]


def test_two_votes_win_over_one_that_is_surer():
    members = torch.tensor([[0.51, 0.49], [0.51, 0.49], [0.01, 0.99]]).log()
    found = HardVote().combine(members).exp()
    assert found.argmax() == 0
    torch.testing.assert_close(found, torch.tensor([2 / 3, 1 / 3]), rtol=0, atol=1e-3)


def test_of_classes_with_equal_votes_the_one_with_the_larger_summed_log_probability_wins():
    members = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]).log()  # 0.6 * 0.2 < 0.3 * 0.7
    assert HardVote().combine(members).argmax() == 1
    assert HardVote().combine(members.flip(-1)).argmax() == 1


def test_a_thousandth_of_the_votes_more_wins_over_any_tie_break():
    weights = torch.tensor([0.5011, 0.4989])  # a difference of 0.0022
    members = torch.tensor([[0.51, 0.49], [1e-30, 1.0]]).log()
    assert HardVote().combine(members, weights).argmax() == 0


def test_classes_without_a_vote_keep_their_order_and_stay_finite():
    found = HardVote().combine(torch.tensor([[1e4, 0.0, 10.0]]))
    assert found.isfinite().all() and found[0] > found[2] > found[1]
    torch.testing.assert_close(found[2] - found[1], torch.tensor(10.0), rtol=0, atol=1e-2)  # fp32 at 1e4


def test_of_logits_that_are_equal_the_first_gets_the_vote():
    found = HardVote().combine(torch.tensor([[1.0, 3.0, 3.0]])).exp()
    torch.testing.assert_close(found[1] - found[2], torch.tensor(0.999))
