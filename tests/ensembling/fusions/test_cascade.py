"""Cheap members first, and dear ones about what is left."""

import pytest
import torch

from hf_compress import CascadeFusion, CompressionError, LearnedDeferral, Margin, MeanProbabilities
from hf_compress.ensembling.fusion import Said
from hf_compress.ensembling.member_costs import MemberCosts

FIRST = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55]])
LOGITS = torch.stack([FIRST, torch.tensor([[0.99, 0.01]]).expand(4, 2)]).log()
LABELS = torch.zeros(4, dtype=torch.long)


def said(logits=LOGITS, labels=LABELS, costs=(1.0, 10.0), **timed):
    names = tuple("xyz"[: len(logits)])
    paid = MemberCosts(each=costs, unit="coins", **timed)
    return Said(logits=logits, labels=labels, names=names, combiner=MeanProbabilities(), costs=paid)


def test_by_hand_the_rows_and_their_cost():
    """The first member is wrong about the last row alone, at a confidence of 0.55; three rows stay with it."""
    found = CascadeFusion(least_quality=1.0).fit(said())
    assert 0.55 < found.options["thresholds"][0] < 0.6 and found.learned == ("thresholds",)
    assert found.facts["shares"] == [0.75, 0.25] and found.facts["cost"] == (3 * 1 + 11) / 4
    assert found.notes[0].endswith(
        "accuracy 1.0000, the last member's 1.0000, at 0.350 of its cost (3.5 a row, coins); answered by x 75.0%, y 25.0%."
    )
    fusion = CascadeFusion(least_quality=1.0)
    answer = fusion.answer(found, LOGITS, MeanProbabilities(), None).exp()
    torch.testing.assert_close(answer, torch.cat([FIRST[:3], torch.tensor([[0.99, 0.01]])]))
    there = fusion.on_rows(found, LOGITS[:, :2], LABELS[:2], [1.0, 10.0])
    assert there["cost"] == 1.0 and there["shares"] == [1.0, 0.0]
    assert there["curve"][0] == [1.0, 1.0] and there["curve"][-1] == [11.0, 1.0]


@pytest.mark.parametrize(
    ("limits", "cost"),
    [({"least_of_last": 0.75}, 1.0), ({"most_cost": 0.35}, 3.5), ({"most_cost": 0.34}, 1.0), ({"thresholds": (0.7,)}, 6.0)],
)
def test_limits_are_shares_of_the_last_member(limits, cost):
    assert CascadeFusion(**limits).fit(said()).facts["cost"] == pytest.approx(cost)


def test_by_the_clock_a_stage_costs_what_it_does_in_the_batches_that_reach_it():
    """In batches of 4 a row of y takes 10 and 22 alone: 6 a row and 16 a call. A quarter of the rows reach it, so a batch
    calls it with probability 1 - 0.75^4 and brings one row on the mean: 6 + 16 * 0.68359375 = 16.9375 a row."""
    found = CascadeFusion(least_quality=1.0).fit(said(alone=(1.0, 22.0), batch_size=4))
    assert found.options["costs"] == pytest.approx([1.0, 16.9375])
    assert found.facts["cost"] == pytest.approx(1 + 16.9375 / 4) and found.facts["shares"] == [0.75, 0.25]
    # 0.4 of what y alone costs in full batches is 4: enough for a quarter of the rows at 10 each, not at 16.9375.
    assert CascadeFusion(most_cost=0.4).fit(said()).facts["cost"] == 3.5
    assert CascadeFusion(most_cost=0.4).fit(said(alone=(1.0, 22.0), batch_size=4)).facts["shares"] == [1.0, 0.0]


def test_a_row_beside_its_threshold_is_not_settled():
    fusion = CascadeFusion(thresholds=(0.8001,))
    found = fusion.given((1.0, 2.0))
    assert fusion.settled(found, LOGITS).tolist() == [True, False, True, True]
    assert found.options["costs"] == [1.0, 2.0] and not fusion.learns


def test_a_score_is_learned_where_it_has_no_weights():
    logits, labels = LOGITS.repeat(1, 10, 1), LABELS.repeat(10)
    found = CascadeFusion(least_quality=1.0, confidence=LearnedDeferral()).fit(said(logits, labels))
    assert found.learned == ("deferral scores", "thresholds") and found.facts["cost"] == 3.5
    assert (
        isinstance(found.options["confidence"][0], LearnedDeferral)
        and CascadeFusion(thresholds=(0.5,), confidence=LearnedDeferral()).learns
    )
    assert not CascadeFusion(thresholds=(0.5,), confidence=Margin()).learns


def test_three_stages_have_a_frontier_from_cheap_to_dear():
    logits = torch.cat([LOGITS[:1], LOGITS])
    fusion = CascadeFusion(least_quality=1.0)
    found = fusion.fit(said(logits, costs=(1.0, 2.0, 10.0)))
    curve = fusion.on_rows(found, logits, LABELS, [1.0, 2.0, 10.0])["curve"]
    assert (
        [cost for cost, _ in curve] == sorted(cost for cost, _ in curve) and curve[0] == [1.0, 0.75] and curve[-1][1] == 1.0
    )


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({}, "nothing given; write one of least_quality"),
        ({"least_quality": 0.9, "most_cost": 0.5}, "least_quality and most_cost given; write one"),
        ({"least_quality": 1.5}, "least_quality=1.5 must be above 0 and at most 1"),
        ({"most_cost": 0.0}, "most_cost=0.0 must be above 0$"),
        ({"thresholds": (0.5, 1.5)}, r"thresholds.1 is 1.5; it must be in \[0, 1\]"),
    ],
)
def test_refused(limits, sentence):
    with pytest.raises(CompressionError, match=sentence):
        CascadeFusion(**limits)


def test_members_from_dear_to_cheap_are_refused():
    with pytest.raises(CompressionError, match="'x' costs 5, 'y' behind it 1 .coins of a row.; put the cheaper one first"):
        CascadeFusion(most_cost=0.5).fit(said(costs=(5.0, 1.0)))
    with pytest.raises(CompressionError, match="a row costs 1 or more, since all visit the first stage"):
        CascadeFusion(most_cost=0.01).fit(said())
