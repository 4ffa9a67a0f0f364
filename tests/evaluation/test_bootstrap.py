"""Resampled rows: drawn as said, the fast way is the slow one, and intervals hold what is true."""

import numpy
import pytest

from hf_compress._errors import CompressionError
from hf_compress.evaluation.bootstrap import Bootstrap, Recomputed, Summed, quantity_of, resample
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.f1 import MacroF1
from hf_compress.tasks.metrics.builtin.spearmanr import SpearmanR


def test_the_sums_of_drawn_rows_are_those_of_a_loop():
    given = numpy.array([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]])
    bootstrap = Bootstrap(resamples=100, seed=3)
    (found,) = resample([Summed(given, lambda sums: {"first": sums[:, 0], "ratio": sums[:, 1] / sums[:, 0]})], bootstrap)
    drawn = numpy.random.default_rng(3).integers(3, size=(100, 3))
    for number, rows in enumerate(drawn):
        total = sum(given[row] for row in rows)
        assert (found["first"][number], found["ratio"][number]) == (total[0], pytest.approx(total[1] / total[0]))


def test_both_ways_see_the_same_rows_and_give_the_same_numbers():
    drawn = numpy.random.default_rng(0)
    predictions, references = drawn.integers(3, size=(2, 30)).tolist()
    numbers = drawn.normal(size=30).tolist()
    metric, ranks = MacroF1(), SpearmanR()
    fast, slow = quantity_of(metric, predictions, references), Recomputed(metric, predictions, references)
    assert isinstance(fast, Summed) and isinstance(quantity_of(ranks, numbers, numbers), Recomputed)
    found = resample([fast, slow, Recomputed(ranks, numbers, numbers)], Bootstrap(resamples=100))
    assert found[0]["macro_f1"] == pytest.approx(found[1]["macro_f1"])
    assert found[2]["spearmanr"] == pytest.approx(numpy.ones(100))


def test_blocks_of_resamples_are_the_resamples(monkeypatch):
    given = Summed(numpy.arange(50.0)[:, None], lambda sums: {"sum": sums[:, 0]})
    whole = resample([given], Bootstrap())
    monkeypatch.setattr("hf_compress.evaluation.bootstrap._AT_ONCE", 170)
    assert (resample([given], Bootstrap())[0]["sum"] == whole[0]["sum"]).all()


def test_an_interval_is_that_of_the_quantiles_by_hand():
    bootstrap = Bootstrap(resamples=100, level=0.8)
    assert bootstrap.interval(numpy.array([numpy.nan, *range(11)])) == pytest.approx((1.0, 9.0))


def test_about_95_of_100_intervals_hold_the_true_difference():
    """scripts/bootstrap_coverage.py does it a thousand times, with more metrics."""
    generator, held = numpy.random.default_rng(0), 0
    for seed in range(100):
        # Both right 0.6, only the model 0.2, only the baseline 0.1: the true difference is 0.1.
        kinds = generator.choice(4, p=(0.6, 0.2, 0.1, 0.1), size=200)
        right = numpy.ones(200, dtype=int)
        answers = [numpy.isin(kinds, known).astype(int) for known in ((0, 1), (0, 2))]
        one, other = resample(
            [quantity_of(Accuracy(), each, right) for each in answers], Bootstrap(resamples=200, seed=seed)
        )
        low, high = Bootstrap().interval(one["accuracy"] - other["accuracy"])
        held += low <= 0.1 <= high
    # Three standard deviations of 100 coins that show heads at 0.95.
    assert 100 * 0.95 - 3 * (100 * 0.95 * 0.05) ** 0.5 <= held <= 100


@pytest.mark.parametrize("wrong", [{"resamples": 99}, {"level": 1.0}, {"level": 0.0}, {"seed": -1}])
def test_what_makes_no_interval_is_refused(wrong):
    with pytest.raises(CompressionError, match=f"{next(iter(wrong))}="):
        Bootstrap(**wrong)
