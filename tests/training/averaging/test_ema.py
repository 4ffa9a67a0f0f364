import pytest
import torch

from hf_compress import CompressionError
from hf_compress.training.averaging.ema import EMA
from tests.training.averaging.recorded import Record, largest_difference, plain_trainer


def recursion(weights, begin, every, decay, warmup, last=12):
    """The definition, in fp64 and one tensor at a time."""
    average = dict(weights[begin])
    for t, step in enumerate(range(begin + every, last + 1, every), start=1):
        d = min(decay, (1 + t) / (10 + t)) if warmup else decay
        average = {name: d * average[name] + (1 - d) * weights[step][name] for name in average}
    return average


def test_two_updates_by_hand():
    """w = 1, 3, 5 with decay 1/2: 1 -> 2 -> 3.5."""
    ema, value = EMA(decay=0.5, warmup=False), [torch.tensor([1.0])]
    ema.move(value, [torch.tensor([3.0])], num_points=1)
    assert value[0].item() == 2.0
    ema.move(value, [torch.tensor([5.0])], num_points=2)
    assert value[0].item() == 3.5


def test_the_decay_grows_to_its_limit():
    ema = EMA(decay=0.9)
    assert ema.decay_at(1) == 2 / 11
    assert ema.decay_at(80) == 81 / 90
    assert ema.decay_at(10**6) == 0.9


@pytest.mark.parametrize(
    "settings",
    [{"begin": 0}, {"begin": "25%", "every": 2}, {"begin": 4, "warmup": False, "decay": 0.7}],
    ids=lambda s: "-".join(map(str, s.values())),
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_average_of_a_run_equals_the_recursion_over_its_weights(settings, accumulation, tmp_path):
    record, ema = Record(), EMA(**settings)
    plain_trainer(tmp_path, record, ema, gradient_accumulation_steps=accumulation, save_strategy="no").train()
    begin = 3 if settings["begin"] == "25%" else settings["begin"]
    expected = recursion(record.weights, begin, settings.get("every", 1), ema.decay, ema.warmup)
    # fp32 against fp64: some ten roundings of values below 2.
    assert largest_difference(ema.average, expected) < 1e-6


def test_half_precision_weights_are_averaged_in_fp32(tmp_path):
    """In bf16 a thousandth of the difference would round away and the average would stand still."""
    from tests.tiny import tiny_llama

    record, ema = Record(), EMA(decay=0.999, warmup=False)
    plain_trainer(tmp_path, record, ema, model=tiny_llama(seed=0).bfloat16(), save_strategy="no").train()
    assert {tensor.dtype for tensor in ema.average.tensors.values()} == {torch.float32}
    assert largest_difference(ema.average, recursion(record.weights, 0, 1, 0.999, False)) < 1e-6


def test_a_device_that_is_none_is_refused():
    with pytest.raises(CompressionError, match="device='nonsense' is not a device; write one like 'cpu'"):
        EMA(device="nonsense")


@pytest.mark.parametrize("decay", [1.0, -0.1, "0.9"])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(CompressionError, match=r"decay=.* lies outside \[0, 1\)"):
        EMA(decay=decay)
