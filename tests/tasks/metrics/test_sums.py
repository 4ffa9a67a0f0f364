"""What rows add up to, against the library's number of the same rows, under the metrics' options."""

import numpy
import pytest

from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.bleu import Bleu
from hf_compress.tasks.metrics.builtin.chrf import ChrF
from hf_compress.tasks.metrics.builtin.exact_match import ExactMatch
from hf_compress.tasks.metrics.builtin.f1 import F1, MacroF1, MicroF1, WeightedF1
from hf_compress.tasks.metrics.builtin.matthews_correlation import MatthewsCorrelation
from hf_compress.tasks.metrics.builtin.pearsonr import PearsonR
from hf_compress.tasks.metrics.builtin.rouge import Rouge
from hf_compress.tasks.metrics.builtin.wer import WordErrorRate
from tests.tasks.metrics.translations import PREDICTIONS, REFERENCES

DRAWN = numpy.random.default_rng(0)
CLASSES = [list(map(int, DRAWN.integers(5, size=40))) for _ in range(2)]
TWO = [list(map(int, DRAWN.integers(2, size=40))) for _ in range(2)]
SETS = [DRAWN.integers(2, size=(40, 3)).tolist() for _ in range(2)]
NUMBERS = [(1e6 + DRAWN.normal(size=40)).tolist() for _ in range(2)]
SEVERAL = [[text, text.upper(), "other words"][: 1 + row % 3] for row, text in enumerate(REFERENCES)]
TEXTS, MANY = (PREDICTIONS, REFERENCES), (PREDICTIONS, SEVERAL)
CASES = [
    *[(metric, CLASSES) for metric in (MacroF1(), MicroF1(), WeightedF1(), Accuracy(), MatthewsCorrelation())],
    *[(metric, TWO) for metric in (F1(), F1(pos_label=0), MacroF1(), MatthewsCorrelation())],
    *[(F1(average=average), SETS) for average in ("macro", "micro", "weighted", "samples")],
    (Accuracy(), SETS),
    (PearsonR(), NUMBERS),
    *[
        (metric, MANY)
        for metric in (Bleu(), Bleu(lowercase=True), ChrF(), ChrF(word_order=2, beta=3), Rouge(), ExactMatch())
    ],
    *[(metric, TEXTS) for metric in (Bleu(tokenize="char"), ChrF(char_order=3, lowercase=True), WordErrorRate())],
    (ExactMatch(ignore_case=True), (["A", "b", "c."], ["a", "b", "c"])),
]


@pytest.mark.parametrize(("metric", "rows"), CASES, ids=lambda value: repr(value) if hasattr(value, "name") else "")
def test_sums_give_what_the_library_gives(metric, rows):
    predictions, references = rows
    statistics = metric.statistics(predictions, references)
    for seed in range(4):
        drawn = numpy.random.default_rng(seed).integers(len(predictions), size=len(predictions))
        expected = metric.compute([predictions[row] for row in drawn], [references[row] for row in drawn])
        found = metric.of_sums(statistics[drawn].sum(0, keepdims=True))
        # Pearson of numbers near a million: fp64 leaves ten digits.
        assert {key: value[0] for key, value in found.items()} == pytest.approx(expected, abs=1e-7)


def test_a_correlation_of_numbers_that_are_all_alike_is_0():
    metric = PearsonR()
    statistics = metric.statistics([1e6, 1e6 + 1, 1e6], [0.1, 0.2, 0.3])
    sums = numpy.stack([statistics[[0, 2, 0]].sum(0), statistics[[1, 1, 1]].sum(0)])
    assert metric.of_sums(sums)["pearsonr"].tolist() == [0.0, 0.0]
