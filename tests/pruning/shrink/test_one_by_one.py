"""Layers that go one after the other by the loss without them."""

import itertools
import json

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.pruning.shrink.mean_loss import mean_loss
from tests.tiny import tiny_bert, tiny_llama

BATCH = {"input_ids": torch.randint(3, 64, (2, 8), generator=torch.Generator().manual_seed(0))}


def large(layers):
    """Of weights large enough that every layer counts."""
    model = tiny_llama(num_hidden_layers=layers).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def test_each_time_the_layer_goes_without_which_the_loss_is_least():
    """By hand, with a model that is really shrunk for every one of them."""
    model, left, losses = large(4), [0, 1, 2, 3], []
    for _ in range(2):
        tried = {place: [one for one in left if one != place] for place in left}
        found = {place: mean_loss(shrink(model, ShrinkPlan(layers=kept)), [BATCH]) for place, kept in tried.items()}
        gone = min(found, key=found.get)
        left = tried[gone]
        losses.append((gone, found[gone]))
    choice = choose_parts(model, ShrinkPlan(layers=2, depth="loss"), [BATCH])
    assert choice.kept.stacks[0].layers == tuple(left)
    assert choice.removed[""] == tuple((place, pytest.approx(loss)) for place, loss in losses)
    assert f"layer {losses[0][0]} goes (loss {losses[0][1]:.4f} then)" in choice.describe()
    assert ShrinkChoice.from_plain(json.loads(json.dumps(choice.to_plain()))) == choice


def test_within_a_budget_each_number_of_layers_is_the_beginning_of_one_order():
    model = large(3)
    choice = choose_parts(model, ShrinkPlan(parameters="55%", depth="loss", candidates=2), [BATCH])
    gone = 3 - len(choice.kept.stacks[0].layers)
    assert gone and len(choice.removed[""]) == gone
    (first, *_), losses = choice.removed[""], {}
    for kept in itertools.combinations(range(3), 2):
        losses[kept] = mean_loss(shrink(model, ShrinkPlan(layers=list(kept))), [BATCH])
    assert first[0] not in min(losses, key=losses.get)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"layers": [0], "depth": "loss"}, "no number of layers is to be chosen; leave it out"),
        ({"feed_forward": 0.5, "depth": "loss"}, "no number of layers is to be chosen; leave it out"),
        ({"layers": 1, "depth": "gradient"}, "layers are chosen by influence or by loss; write one"),
    ],
)
def test_what_says_nothing_is_refused(plan, said):
    with pytest.raises(CompressionError, match=said):
        ShrinkPlan(**plan)


def test_without_labels_there_is_no_loss():
    with pytest.raises(CompressionError, match="gives no loss for a batch of input_ids"):
        choose_parts(tiny_bert(), ShrinkPlan(layers=1, depth="loss"), [BATCH])
