"""The sign test, against its formula in whole numbers."""

import math
from fractions import Fraction

import numpy
import pytest

from hf_compress.evaluation.sign_test import holm, sign_test


def by_formula(better, worse):
    tail = sum(math.comb(better + worse, k) for k in range(min(better, worse) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2 ** (better + worse))))


def test_eight_of_nine_by_hand():
    # 2 (C(9, 0) + C(9, 1)) / 2^9 = 20 / 512.
    model, baseline = numpy.array([1.0] * 8 + [0.0] + [0.5] * 3), numpy.array([0.0] * 8 + [1.0] + [0.5] * 3)
    found = sign_test(model, baseline, greater_is_better=True)
    assert (found.better, found.worse, found.equal, found.p_value) == (8, 1, 3, pytest.approx(20 / 512))
    turned = sign_test(model, baseline, greater_is_better=False)
    assert (turned.better, turned.worse, turned.p_value) == (1, 8, found.p_value)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 3), (7, 2), (40, 60), (500, 430)])
def test_it_is_the_formula(better, worse):
    signs = numpy.array([1.0] * better + [-1.0] * worse + [0.0])
    assert sign_test(signs, 0 * signs, True).p_value == pytest.approx(by_formula(better, worse), rel=1e-9)


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04: times 3, 2 and 1 are 0.03, 0.06, 0.04, and no later one is less than one before it.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.7, 0.6]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


def test_of_tests_without_a_difference_holm_finds_one_in_twenty_reports_at_most():
    p_values = numpy.random.default_rng(0).uniform(size=(2000, 8))
    alone, together = (numpy.mean([min(one) <= 0.05 for one in rows]) for rows in (p_values, map(holm, p_values)))
    assert alone > 0.3 and together <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5
