"""The linear correlation of numbers."""

import math
import warnings

import numpy
import pytest
from scipy.stats import pearsonr

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.pearsonr import PearsonR


def test_it_by_hand():
    # Deviations -1, 0, 1 and -2, 1, 1: 3 / sqrt(2 * 6).
    assert PearsonR().compute([1.0, 2.0, 3.0], [0.0, 3.0, 3.0]) == {"pearsonr": pytest.approx(3 / math.sqrt(12))}


@pytest.mark.parametrize("decimals", [6, 0], ids=["distinct", "ties"])
def test_it_is_that_of_scipy(decimals):
    draws = numpy.random.default_rng(0)
    references = draws.normal(size=80).round(decimals)
    predictions = (references + draws.normal(size=80)).round(decimals)
    assert PearsonR().compute(predictions, references)["pearsonr"] == pytest.approx(
        pearsonr(predictions, references).statistic
    )


def test_the_same_number_throughout_is_no_correlation_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PearsonR().compute([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == {"pearsonr": 0.0}
        assert PearsonR().compute([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == {"pearsonr": 0.0}


def test_what_has_no_correlation_is_refused():
    with pytest.raises(CompressionError, match="pearsonr of one row is not defined; evaluate two rows or more"):
        PearsonR().compute([1.0], [2.0])
    with pytest.raises(
        CompressionError, match="pearsonr: the prediction in row 1 is nan; correlations are of finite numbers"
    ):
        PearsonR().compute([1.0, math.nan], [2.0, 3.0])
    with pytest.raises(CompressionError, match="pearsonr: the reference in row 0 is inf"):
        PearsonR().compute([1.0, 2.0], [math.inf, 3.0])
