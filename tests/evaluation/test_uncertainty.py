"""Intervals and tests of groups of rows."""

import numpy
import pytest

from hf_compress.evaluation.bootstrap import Bootstrap, Summed
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.uncertainty import Group, Uncertainty, corrected, of_predictions, uncertainties
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.pearsonr import PearsonR


def kept(predictions, references):
    made = Kept()
    assert made.compute(predictions, references) == {}
    return made


def test_a_constant_lead_has_an_interval_of_no_width():
    # Both models have noise, and it is the same: 20 rows of noise alone would be uncertain by 0.4.
    noise = numpy.random.default_rng(0).normal(size=20)
    rows = [numpy.stack([numpy.ones(20), values], axis=1) for values in (noise, noise + 0.25)]
    mean = [Summed(one, lambda sums: {"score": sums[:, 1] / sums[:, 0]}) for one in rows]
    group = Group(unit="rows", quantities=([mean[0]], [mean[1]]), scores={"score": (noise, noise + 0.25)})
    values = [{"score": noise.mean()}, {"score": noise.mean() + 0.25}]
    found = uncertainties(group, values, {"score": True}, Bootstrap())["score"]
    assert found.difference == pytest.approx(0.25) and found.difference_interval == pytest.approx((0.25, 0.25))
    assert found.intervals[0][1] - found.intervals[0][0] > 0.4
    assert (found.sign_test.better, found.sign_test.p_value) == (20, pytest.approx(2 / 2**20))
    assert Uncertainty.from_plain({**vars(found), "sign_test": vars(found.sign_test)}) == found


def test_a_number_that_the_rows_do_not_add_up_to_has_no_interval():
    models = [kept([0, 1, 1, 0], [0, 1, 0, 0]), kept([1, 1, 1, 0], [0, 1, 0, 0])]
    (group,) = of_predictions([Accuracy()], models)
    directions = {"accuracy": True}
    assert set(uncertainties(group, [{"accuracy": 0.75}, {"accuracy": 0.5}], directions, Bootstrap())) == {"accuracy"}
    assert uncertainties(group, [{"accuracy": 0.75}, {"accuracy": 0.6}], directions, Bootstrap()) == {}


def test_a_metric_of_which_a_row_has_no_part_has_no_sign_test():
    (group,) = of_predictions(
        [PearsonR()], [kept([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]), kept([3.0, 2.0, 2.5], [1.0, 2.0, 3.0])]
    )
    values = [PearsonR().compute(one.predictions, one.references) for one in (kept([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]),) * 2]
    values[1] = PearsonR().compute([3.0, 2.0, 2.5], [1.0, 2.0, 3.0])
    assert uncertainties(group, values, {"pearsonr": True}, Bootstrap())["pearsonr"].sign_test is None


def test_numbers_of_the_same_scores_are_one_test_among_those_that_are_corrected():
    rows = numpy.arange(8.0)
    losses = (rows, rows - 1)  # 8 better: p = 2 / 2**8
    hits = (numpy.zeros(8), numpy.array([1.0] * 6 + [0.0] * 2))  # 6 better: p = 2 / 2**6

    def group(keys, scores):
        quantities = tuple([Summed(one[:, None], lambda sums: dict.fromkeys(keys, sums[:, 0] / 8))] for one in scores)
        return Group(unit="rows", quantities=quantities, scores=dict.fromkeys(keys, scores))

    groups = [group(("nll", "perplexity"), losses), group(("accuracy",), hits)]
    directions = {"nll": False, "perplexity": False, "accuracy": True}
    found = {}
    for one, scores in zip(groups, (losses, hits), strict=True):
        values = [dict.fromkeys(one.scores, float(model.mean())) for model in scores]
        found |= uncertainties(one, values, directions, Bootstrap())
    tests = {key: one.sign_test for key, one in corrected(found, groups).items()}
    assert tests["nll"] == tests["perplexity"]
    assert (tests["nll"].holm_p_value, tests["accuracy"].holm_p_value) == (2 * 2 / 2**8, 2 / 2**6)
    alone = corrected({key: found[key] for key in ("nll", "perplexity")}, groups[:1])
    assert alone["nll"].sign_test.holm_p_value is None
