"""Whether more is better is what the metric says, not what its name sounds like."""

import pytest

from hf_compress.tasks.metrics.builtin.hub import Hub
from hf_compress.tasks.metrics.directions import direction_of, same_as_loss

KNOWN = {
    "accuracy": True,
    "wer": False,
    "cer": False,
    "rougeL": True,
    "overall_f1": True,
    "f1": True,
    "matthews_correlation": True,
}


@pytest.mark.parametrize("key", KNOWN)
def test_a_metric_of_the_library_knows_its_direction(key):
    assert direction_of(key) is KNOWN[key]


def test_less_of_a_loss_is_better_and_nobody_knows_of_other_names():
    assert [direction_of(key) for key in ("loss", "nll", "mse", "perplexity", "mae", "my_loss")] == [False] * 4 + [None] * 2
    assert direction_of("mae", [Hub(metric="mae", greater_is_better=False)]) is False
    assert same_as_loss("eval_perplexity") and not same_as_loss("accuracy")
