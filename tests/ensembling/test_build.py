"""Ensembles that learned from validation data answer as what was learned says."""

import pytest
import torch

from hf_compress import (
    CompressionError,
    MeanLogits,
    ParallelEnsemble,
    build_cascade,
    build_gating,
    build_stacking,
    choose_thresholds,
    fit_gate,
    fit_stacking,
    member_logits,
)
from tests.ensembling.folders import texts, writers

IDS = torch.randint(4, 60, (40, 7), generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(1))
COSTS = [1.0, 5.0]


@pytest.fixture
def members():
    return texts()[0]


def answers(members):
    with torch.no_grad():
        return torch.stack([members[0](IDS).logits, members[1](IDS).logits[:, [1, 2, 0]]])


def labels_of(logits):
    """Those of the second member, but for some rows."""
    return torch.where(torch.arange(40) % 5 == 0, LABELS, logits[1].argmax(-1))


def test_logits_of_members_come_batch_by_batch_in_one_order_of_labels(members):
    expected = answers(members)
    made = ParallelEnsemble.from_members(members, temperatures=[2.0, 3.0]).train()
    batches = [{"input_ids": IDS[:30], "labels": LABELS[:30]}, {"input_ids": IDS[30:], "labels": LABELS[30:]}]
    logits, labels = member_logits(made, batches)
    torch.testing.assert_close(logits, expected)
    assert torch.equal(labels, LABELS) and made.members[0].training
    assert member_logits(made, [{"input_ids": IDS[:2]}])[1] is None
    with pytest.raises(CompressionError, match="1 of 2 batches have labels"):
        member_logits(made, [batches[0], {"input_ids": IDS[30:]}])
    with pytest.raises(CompressionError, match="no batches"):
        member_logits(made, [])
    with pytest.raises(CompressionError, match="AutoModelForCausalLM; this is for those that choose a class"):
        member_logits(ParallelEnsemble.from_members(writers()[0]), batches)


@pytest.mark.parametrize("temperatures", [None, [2.0, 0.5]])
def test_a_cascade_does_on_the_rows_that_chose_it_what_was_promised(members, temperatures):
    logits = answers(members)
    labels = labels_of(logits)
    made, found = build_cascade(members, logits, labels, costs=COSTS, least_quality=0.7, temperatures=temperatures)
    with torch.no_grad():
        output = made(IDS, output_stages=True)
    assert (output.logits.argmax(-1) == labels).double().mean().item() == pytest.approx(found.quality)
    assert made.account(output.stages) == pytest.approx(found.cost)
    assert 0 < found.shares[0] < 1 and found.quality >= 0.7 and made.config.thresholds == list(found.thresholds)
    scores = (logits / torch.tensor(temperatures or [1.0, 1.0]).view(2, 1, 1)).softmax(-1).amax(-1)
    assert found == choose_thresholds(scores, logits.argmax(-1) == labels, COSTS, least_quality=0.7)


def test_a_stage_of_no_use_is_named(members, caplog):
    logits = answers(members)
    logits[0] = logits[1].roll(1, -1)  # never right where the second is
    _, found = build_cascade(members, logits, logits[1].argmax(-1), costs=COSTS, least_quality=1.0, names=["x", "y"])
    assert found.thresholds == (2.0,) and "member 'x' answers no row" in caplog.text


def test_stacking_and_gating_answer_as_what_was_fitted(members):
    logits = answers(members)
    labels = labels_of(logits)
    made, found = build_stacking(members, logits, labels, strength=0.1, temperatures=[2.0, 1.0])
    scaled = logits / torch.tensor([2.0, 1.0]).view(2, 1, 1)
    assert torch.equal(found.weight, fit_stacking(scaled, labels, strength=0.1).weight)
    with torch.no_grad():
        torch.testing.assert_close(made(IDS).logits, found.log_probabilities(scaled), rtol=1e-4, atol=1e-4)
    options = {"hidden": 4, "steps": 5, "seed": 3}
    made, gated = build_gating(members, logits, labels, combiner=MeanLogits(), fitting=options)
    assert gated.nll_held_out == fit_gate(logits, labels, MeanLogits(), **options).nll_held_out
    with torch.no_grad():
        expected = MeanLogits().combine(logits, gated.gate(logits))
        torch.testing.assert_close(made(IDS).logits, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(CompressionError, match="temperatures has 1 entries for 2 members"):
        build_stacking(members, logits, labels, temperatures=[1.0])
