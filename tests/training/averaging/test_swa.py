import pytest
import torch

from hf_compress import CompressionError
from hf_compress.training.averaging.swa import SWA
from tests.training.averaging.recorded import Record, largest_difference, plain_trainer


def test_three_points_by_hand():
    swa, value = SWA(), [torch.tensor([1.0])]
    swa.move(value, [torch.tensor([3.0])], num_points=1)
    swa.move(value, [torch.tensor([8.0])], num_points=2)
    assert value[0].item() == 4.0


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({}, [9, 10, 11, 12]), ({"begin": 2, "every": 3}, [2, 5, 8, 11]), ({"begin": "50%", "every": "25%"}, [6, 9, 12])],
)
def test_average_of_a_run_is_the_mean_of_its_points(settings, steps, tmp_path):
    record, swa = Record(), SWA(**settings)
    plain_trainer(tmp_path, record, swa, save_strategy="no").train()
    assert swa.average.num_points == len(steps)
    expected = {name: torch.stack([record.weights[step][name] for step in steps]).mean(0) for name in record.weights[0]}
    # fp32 against fp64: four roundings of values below 2.
    assert largest_difference(swa.average, expected) < 1e-6


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"every": 0}, "every=0 takes no step"),
        ({"begin": 0.5}, "begin=0.5 is not a point"),
        ({"name": "a/b"}, "is not a folder name"),
        ({"name": ".."}, "is not a folder name"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, match):
    with pytest.raises(CompressionError, match=match):
        SWA(**settings)


def test_an_average_that_would_never_begin_is_refused_before_the_first_step(tmp_path):
    trainer = plain_trainer(tmp_path, SWA(begin=13))
    with pytest.raises(CompressionError, match="begin=13 is after the last of 12 steps"):
        trainer.train()
    assert trainer.state.global_step == 0
