"""Scores of many layers, one by one, and their places within rows."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._sharding.across import ALONE
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.scores import places_in_rows, scores_of


def test_places_by_hand_the_later_of_equal_ones_is_lower_and_what_is_gone_stays_gone():
    score = torch.tensor([[0.3, 0.1, 0.3, 9.0], [-torch.inf, 5.0, 4.0, -torch.inf]])
    assert places_in_rows(score).tolist() == [[2.0, 0.0, 1.0, 3.0], [-torch.inf, 3.0, 2.0, -torch.inf]]


def test_neighbours_that_go_together_have_the_place_of_their_mean():
    score = torch.tensor([[9.0, 1.0, 4.0, 4.0, -torch.inf, 2.0], [1.0, 1.0, -torch.inf, -torch.inf, 3.0, 0.0]])
    # Means 5, 4 and 1 (what is gone counts as 0); 1, nothing and 1.5.
    expected = [[2.0, 2.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, -torch.inf, -torch.inf, 2.0, 2.0]]
    assert places_in_rows(score, 2).tolist() == expected


def test_scores_are_computed_when_they_are_asked_for_and_refused_where_they_are_not_finite():
    modules = {"good": nn.Linear(3, 2), "bad": nn.Linear(3, 2)}
    with torch.no_grad():
        modules["bad"].weight[0, 0] = torch.nan
    scores = scores_of(Magnitude(), modules, {}, dict.fromkeys(modules, ALONE))
    assert list(scores) == ["good", "bad"] and torch.equal(scores["good"], modules["good"].weight.abs())
    with torch.no_grad():
        modules["good"].weight.zero_()
    assert int(scores["good"].count_nonzero()) == 0
    with pytest.raises(CompressionError, match="the magnitude scores of bad are not finite, so the weights hold NaN"):
        scores["bad"]
