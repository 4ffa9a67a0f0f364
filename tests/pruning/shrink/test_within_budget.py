"""The counts within a budget that are taken: little importance lost, then the least loss."""

import json

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.pruning.shrink.budget import Counts, within
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.pruning.shrink.mean_loss import mean_loss
from hf_compress.pruning.shrink.within_budget import Parts, importance_lost, measure_parts, most_promising
from tests.tiny import tiny_bert, tiny_llama

BATCH = {"input_ids": torch.randint(3, 64, (2, 8), generator=torch.Generator().manual_seed(0))}


def test_importance_by_hand():
    """Two layers with influence 1 and 3, two units each that write 4 and 12 (of squares), two groups that write 1 and 1."""
    squares = torch.tensor([4.0, 12.0], dtype=torch.float64)
    parts = Parts(influence=[1.0, 3.0], units=[squares, squares], groups=[torch.ones(2).double()] * 2, per_group=2)
    assert importance_lost(Counts(layers=2, heads=4, units=2), parts) == pytest.approx(0)
    assert importance_lost(Counts(layers=1, heads=4, units=2), parts) == pytest.approx(1 / 4)  # the first one goes
    assert importance_lost(Counts(layers=2, heads=4, units=1), parts) == pytest.approx(1 - (3 / 4 + 1) / 2)
    assert importance_lost(Counts(layers=1, heads=2, units=1), parts) == pytest.approx(1 - 3 / 4 * (3 / 4 + 1 / 2) / 2)


def test_the_one_with_the_least_loss_among_the_most_promising_is_taken_and_all_are_shown():
    model = tiny_llama(num_hidden_layers=3).eval()
    plan = ShrinkPlan(parameters="60%", candidates=2)
    choice = choose_parts(model, plan, [BATCH])
    tried = most_promising(within(model, plan), measure_parts(model, [BATCH]), 2)
    assert [one.counts for one in choice.candidates] == [str(counts) for counts in tried]
    losses = [one.loss for one in choice.candidates]
    (taken,) = [one for one in choice.candidates if one.taken]
    assert taken.loss == min(losses)
    assert choice.after.parameters == taken.parameters <= 0.6 * choice.before.parameters
    assert mean_loss(shrink(model, choice), [BATCH]) == pytest.approx(taken.loss)
    lines = choice.describe().splitlines()
    assert lines[-3].startswith(f"within the budget were tried (loss of the whole model {choice.dense_loss:.4f}")
    assert sum(line.startswith("-> ") for line in lines[-2:]) == 1
    assert ShrinkChoice.from_plain(json.loads(json.dumps(choice.to_plain()))) == choice


def test_layers_that_the_plan_names_stay_and_widths_make_the_budget():
    model = tiny_llama(num_hidden_layers=3).eval()
    choice = choose_parts(model, ShrinkPlan(macs=0.5, layers=[0, 2], candidates=1), [BATCH])
    assert choice.kept.stacks[0].layers == (0, 2)
    assert choice.after.macs <= 0.5 * choice.before.macs


def test_a_budget_needs_batches_and_labels():
    with pytest.raises(CompressionError, match="parameters is a budget, and what is within it is compared by the loss"):
        choose_parts(tiny_llama(), ShrinkPlan(parameters=0.6))
    with pytest.raises(CompressionError, match="BertForSequenceClassification gives no loss for a batch of input_ids"):
        choose_parts(tiny_bert(), ShrinkPlan(parameters=0.8), [BATCH])


def test_the_loss_of_batches_is_the_mean_over_all_their_tokens():
    model = tiny_llama().eval()
    short = {"input_ids": BATCH["input_ids"][:1, :4]}
    padded = {"input_ids": torch.nn.functional.pad(short["input_ids"], (0, 4)), "attention_mask": torch.ones(1, 8).long()}
    padded["attention_mask"][0, 4:] = 0
    logits = [model(**batch).logits[:, :-1].flatten(0, 1) for batch in (BATCH, short)]
    labels = [batch["input_ids"][:, 1:].flatten() for batch in (BATCH, short)]
    wanted = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(labels)).item()
    assert mean_loss(model, [BATCH, short]) == pytest.approx(wanted, rel=1e-6)
    assert mean_loss(model, [BATCH, padded]) == pytest.approx(wanted, rel=1e-6)
    given = {**BATCH, "labels": torch.full_like(BATCH["input_ids"], -100)}
    with pytest.raises(CompressionError, match="no label to learn from"):
        mean_loss(model, [given])
