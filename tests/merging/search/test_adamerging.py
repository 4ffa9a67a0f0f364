import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.search.adamerging import Task, adamerging, prediction_entropy
from tests.tiny import tiny_bert


class Output:
    def __init__(self, logits):
        self.logits = logits


def tokens(seed):
    return torch.randint(3, 60, (8, 6), generator=torch.Generator().manual_seed(seed))


def fine_tuned(base, seed, num_labels):
    """A model near the base with a head of its own."""
    model = tiny_bert(seed=seed, num_labels=num_labels).eval()
    state, start = model.state_dict(), base.state_dict()
    moved = {name: start[name] + 0.3 * one if "classifier" not in name else 4 * one for name, one in state.items()}
    model.load_state_dict(moved)
    return model


def test_the_entropy_of_a_fair_coin_is_one_bit_and_padding_does_not_count():
    logits = torch.tensor([[[0.0, 0.0], [100.0, 0.0]]])
    assert float(prediction_entropy(Output(logits), {})) == pytest.approx(0.5 * 0.693147, abs=1e-5)
    masked = prediction_entropy(Output(logits), {"attention_mask": torch.tensor([[1, 0]])})
    assert float(masked) == pytest.approx(0.693147, abs=1e-5)
    decoder = Output(logits)
    decoder.encoder_last_hidden_state = torch.ones(1, 2, 4)  # the mask of the encoder is not for what the decoder predicts
    assert float(prediction_entropy(decoder, {"attention_mask": torch.tensor([[1, 0]])})) == pytest.approx(
        0.34657, abs=1e-5
    )
    with pytest.raises(CompressionError, match="no logits"):
        prediction_entropy(object(), {})


@pytest.mark.parametrize("granularity", ["model", "layer", "tensor"])
def test_the_entropy_falls_and_the_heads_stay_with_their_tasks(granularity):
    base = tiny_bert(seed=0, num_labels=5)
    tasks = {
        "three": Task(model=fine_tuned(base, 1, 3), batches=[{"input_ids": tokens(1)}]),
        "four": Task(model=fine_tuned(base, 2, 4), batches=[{"input_ids": tokens(2)}]),
    }
    before = {label: {name: one.clone() for name, one in task.model.state_dict().items()} for label, task in tasks.items()}
    found = adamerging(base.state_dict(), tasks, granularity=granularity, steps=25, learning_rate=0.02)
    losses = [loss for _, loss in found.history]
    assert losses[-1] < losses[0]
    assert not any("classifier" in name for name in found.state_dict)
    assert set(found.state_dict) == {name for name in base.state_dict() if "classifier" not in name}
    name = "bert.encoder.layer.1.output.dense.weight"
    first, second = found.coefficients.of(name)
    assert 0 <= first <= 1 and 0 <= second <= 1
    start = base.state_dict()[name]
    wanted = start + first * (before["three"][name] - start) + second * (before["four"][name] - start)
    torch.testing.assert_close(found.state_dict[name], wanted)
    for label, task in tasks.items():
        assert all(torch.equal(one, before[label][key]) for key, one in task.model.state_dict().items())


def test_a_base_with_other_names_and_no_tasks_are_refused():
    with pytest.raises(CompressionError, match="no tensor of the base has the name and shape"):
        adamerging({"x": torch.ones(1)}, {"a": Task(model=tiny_bert(), batches=[{"input_ids": tokens(0)}])})
    with pytest.raises(CompressionError, match="tasks is empty"):
        adamerging({}, {})
