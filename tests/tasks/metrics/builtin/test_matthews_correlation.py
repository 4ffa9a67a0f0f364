"""The correlation of predicted and right classes."""

import math

import numpy
import pytest
from sklearn.metrics import matthews_corrcoef

from hf_compress.tasks.metrics.builtin.matthews_correlation import MatthewsCorrelation


def test_two_classes_by_hand():
    # TP 2, TN 1, FP 1, FN 1.
    found = MatthewsCorrelation().compute([1, 1, 1, 0, 0], [1, 1, 0, 0, 1])
    assert found == {"matthews_correlation": pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))}


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_that_of_scikit_learn(classes):
    draws = numpy.random.default_rng(classes)
    references = draws.integers(0, classes, 100)
    predictions = numpy.where(draws.random(100) < 0.5, references, draws.integers(0, classes, 100))
    found = MatthewsCorrelation().compute(predictions, references)
    assert found == {"matthews_correlation": matthews_corrcoef(references, predictions)}


def test_one_class_everywhere_is_no_correlation():
    assert MatthewsCorrelation().compute([1, 1, 1], [0, 1, 1]) == {"matthews_correlation": 0.0}
