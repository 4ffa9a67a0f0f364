import pytest
import torch
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress.merging.engine.in_memory import load_merged, merge_state_dicts
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.learned_soup import learned_soup
from tests.merging.zoo import make
from tests.tiny import tiny_bert


def labelled_by(model, count=16):
    """Batches whose labels are the model's own predictions."""
    ids = torch.randint(3, 60, (count, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return [{"input_ids": ids, "labels": model.eval()(input_ids=ids).logits.argmax(1)}]


@pytest.mark.parametrize("granularity", ["model", "layer", "tensor"])
def test_it_finds_the_model_that_the_data_come_from(granularity):
    right, wrong = tiny_bert(seed=0), tiny_bert(seed=1)
    batches = labelled_by(right)
    wrong.load_state_dict({**right.state_dict(), "classifier.weight": -right.classifier.weight.detach()})
    found = learned_soup(
        {"wrong": wrong.state_dict(), "right": right.state_dict()},
        tiny_bert(seed=2),
        batches,
        granularity=granularity,
        steps=40,
    )
    losses = [loss for _, loss in found.history]
    assert losses[-1] < losses[0]
    weights = found.coefficients.of("classifier.weight")
    assert weights[1] > 0.9 and sum(weights) == pytest.approx(1)
    again = merge_state_dicts(
        Linear(),
        {"wrong": wrong.state_dict(), "right": right.state_dict()},
        weights=found.coefficients.of,
    )
    assert all(torch.equal(again[name], tensor) for name, tensor in found.state_dict.items())


def test_the_model_is_left_as_it_was_and_another_loss_may_be_given():
    model = tiny_bert(seed=2).train()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    batches = [{"input_ids": torch.tensor([[5, 6, 7]])}]
    found = learned_soup(
        {"a": tiny_bert(seed=0).state_dict(), "b": tiny_bert(seed=1).state_dict()},
        model,
        batches,
        loss=lambda output, batch: functional.cross_entropy(output.logits, torch.tensor([0])),
        steps=3,
    )
    assert model.training and all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert len(found.history) == 3
    load_merged(model, found.state_dict)


def test_batches_without_labels_need_a_loss():
    with pytest.raises(CompressionError, match="the model's output has no loss; give batches with labels"):
        learned_soup({"a": tiny_bert().state_dict()}, tiny_bert(), [{"input_ids": torch.tensor([[5, 6]])}], steps=1)


def test_counters_of_batch_norm_are_the_first_members_so_that_the_result_is_a_whole_model():
    first, second = (make("ResNet", seed) for seed in (0, 1))
    counter = "resnet.embedder.embedder.normalization.num_batches_tracked"
    first.state_dict()[counter].fill_(7)
    batches = [{"pixel_values": torch.zeros(2, 3, 16, 16), "labels": torch.tensor([0, 2])}]
    members = {"first": first.state_dict(), "second": second.state_dict()}
    found = learned_soup(members, make("ResNet", 2), batches, steps=2)
    assert int(load_merged(make("ResNet", 2), found.state_dict).state_dict()[counter]) == 7


def test_no_members_no_steps_and_losses_that_are_no_numbers_are_refused():
    members, batches = (
        {"a": tiny_bert().state_dict()},
        [{"input_ids": torch.ones(2, 4).long(), "labels": torch.ones(2).long()}],
    )
    with pytest.raises(CompressionError, match="members is empty"):
        learned_soup({}, tiny_bert(), batches)
    with pytest.raises(CompressionError, match="steps=0 must be 1 or more"):
        learned_soup(members, tiny_bert(), batches, steps=0)
    members["a"]["classifier.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(CompressionError, match="the loss is nan"):
        learned_soup(members, tiny_bert(), batches, steps=2)
