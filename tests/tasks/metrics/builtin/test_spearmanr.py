"""The correlation of ranks."""

import math
import warnings

import numpy
import pytest
from scipy.stats import spearmanr

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.spearmanr import SpearmanR


def test_it_by_hand():
    # Ranks 1, 2, 3 and 1, 2.5, 2.5: deviations -1, 0, 1 and -1, 0.5, 0.5.
    assert SpearmanR().compute([1.0, 2.0, 30.0], [0.0, 3.0, 3.0]) == {"spearmanr": pytest.approx(1.5 / math.sqrt(2 * 1.5))}


@pytest.mark.parametrize("decimals", [6, 0], ids=["distinct", "ties"])
def test_it_is_that_of_scipy(decimals):
    draws = numpy.random.default_rng(0)
    references = draws.normal(size=80).round(decimals)
    predictions = (references + draws.normal(size=80)).round(decimals)
    assert SpearmanR().compute(predictions, references)["spearmanr"] == pytest.approx(
        spearmanr(predictions, references).statistic
    )


def test_the_same_number_throughout_is_no_correlation_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SpearmanR().compute([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == {"spearmanr": 0.0}
        assert SpearmanR().compute([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == {"spearmanr": 0.0}


def test_what_has_no_correlation_is_refused():
    with pytest.raises(CompressionError, match="spearmanr of one row is not defined; evaluate two rows or more"):
        SpearmanR().compute([1.0], [2.0])
    with pytest.raises(
        CompressionError, match="spearmanr: the prediction in row 1 is nan; correlations are of finite numbers"
    ):
        SpearmanR().compute([1.0, math.nan], [2.0, 3.0])
    with pytest.raises(CompressionError, match="spearmanr: the reference in row 0 is inf"):
        SpearmanR().compute([1.0, 2.0], [math.inf, 3.0])
