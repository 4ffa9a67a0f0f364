"""Scores that are learned of who is right."""

import math

import pytest
import torch

from hf_compress import Cascade, CompressionError, choose_thresholds, fit_deferral
from hf_compress.ensembling.build import stage_scores
from hf_compress.ensembling.combiner import log_probabilities
from hf_compress.ensembling.confidences.learned_deferral import LearnedDeferral, deferral_features
from tests.ensembling.folders import texts
from tests.ensembling.made import members
from tests.tiny import tiny_tokenizer

IDS = torch.randint(4, 60, (12, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("learns", ["gain", "right"])
def test_its_slope_is_zero_where_it_was_learned(learns):
    logits, labels = members(num_members=3, num_rows=300)
    found = fit_deferral(logits, labels, learns=learns, top=2, strength=0.05)
    rows = log_probabilities(logits.double())
    right = rows.argmax(-1) == labels
    for stage, one in enumerate(found):
        keep = right[stage] if learns == "right" else right[stage] | ~right[2]
        x = deferral_features(rows[stage], 4)
        deviation = x.std(0, unbiased=False)
        v = (torch.tensor(one.weights, dtype=torch.float64) * deviation).requires_grad_(True)
        b = torch.tensor(one.bias, dtype=torch.float64).requires_grad_(True)
        odds = (x / deviation) @ v + b
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, keep.double()) + 0.05 / 2 * v.square().sum()
        loss.backward()
        assert v.grad.abs().max() < 1e-4 and b.grad.abs() < 1e-4


def test_by_hand_where_one_stage_errs_and_the_other_does_not():
    """Two classes; the first member's odds are 1 or -1 on half of the rows, half of them wrong, and 3 on the others."""
    labels = torch.zeros(8, dtype=torch.long)
    first = torch.tensor([1.0, 1.0, -1.0, -1.0, 3.0, 3.0, 3.0, 3.0])
    logits = torch.stack([torch.stack([first, 0 * first], -1), torch.tensor([5.0, 0.0]).expand(8, 2)])
    (one,) = fit_deferral(logits, labels, top=1, strength=1e-6)
    scores = one.score(log_probabilities(logits[0]))
    torch.testing.assert_close(scores, torch.tensor([0.5] * 4 + [1.0] * 4), atol=0.02, rtol=0)


def test_rows_that_are_all_right_or_all_wrong_teach_a_rate():
    labels = torch.zeros(6, dtype=torch.long)
    right = torch.tensor([2.0, 0.0]).expand(6, 2)
    (one,) = fit_deferral(torch.stack([right, right]), labels)
    assert set(one.weights) == {0.0} and one.bias == pytest.approx(math.log(7 / 1))
    (one,) = fit_deferral(torch.stack([-right, right]), labels)
    assert one.bias == pytest.approx(math.log(1 / 7))


def test_it_finds_what_the_largest_probability_does_not_say():
    """A first member that is surest where it is wrong: only a learned score can ask on there."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (400,), generator=generator)
    sign = torch.where(torch.rand(400, generator=generator) < 0.5, 1.0, -1.0)  # right, or wrong
    margin = torch.where(sign > 0, 1.0, 4.0)
    first = torch.nn.functional.one_hot(labels, 2) * (sign * margin).unsqueeze(-1)
    logits = torch.stack([first, 3.0 * torch.nn.functional.one_hot(labels, 2)])
    rows = log_probabilities(logits)
    right = rows.argmax(-1) == labels
    for confidence, least in (("maximum_probability", 2.0 - 1e-9), (fit_deferral(logits, labels), 1.5)):
        found = choose_thresholds(stage_scores(rows, confidence), right, [1.0, 1.0], least_quality=1.0)
        assert found.cost == pytest.approx(2.0 if least > 1.9 else 1.5, abs=0.06)


def test_a_cascade_keeps_one_for_each_stage_where_it_is_loaded_again(tmp_path):
    made, _ = texts((tiny_tokenizer,) * 3, ("abc", "cab", "bca"))
    scores = [LearnedDeferral(weights=(1.0, 0.5), bias=0.1), LearnedDeferral(weights=(0.2,), bias=-1.0)]
    with torch.no_grad():
        first = scores[0].score(made[0](IDS).logits.log_softmax(-1)).median().item()
    cascade = Cascade.from_members(made, thresholds=[first, 0.25], confidence=scores)
    expected = cascade(IDS, output_stages=True)
    cascade.save_pretrained(tmp_path)
    again = Cascade.from_pretrained(tmp_path)
    assert again.config.confidences() == scores
    found = again(IDS, output_stages=True)
    assert torch.equal(found.stages, expected.stages) and len(set(found.stages.tolist())) > 1
    with pytest.raises(CompressionError, match="1 confidences for 3 members; give one, or one for each but the last"):
        Cascade.from_members(made, thresholds=[0.5, 0.5], confidence=scores[:1])


@pytest.mark.parametrize("wrong", [{"learns": "luck"}, {"top": 0}, {"strength": 0.0}])
def test_refused(wrong):
    logits, labels = members()
    with pytest.raises(CompressionError, match="expected are two members or more, gain or right"):
        fit_deferral(logits, labels, **wrong)
