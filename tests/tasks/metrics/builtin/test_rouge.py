"""Summaries, by the words that they share with right ones."""

import pytest
from rouge_score.rouge_scorer import RougeScorer

from hf_compress.tasks.metrics.builtin.rouge import Rouge
from tests.tasks.metrics.translations import PREDICTIONS, REFERENCES

KEYS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def test_two_summaries_by_hand():
    # First: words 3 of 3 and 3 of 4, pairs 1 of 2 and 1 of 3, in order all three. Second: nothing shared.
    found = Rouge().compute(["the cat sat", "x"], ["the cat has sat", "y"])
    f1 = 2 * 1 * 0.75 / 1.75
    assert found == pytest.approx({"rouge1": f1 / 2, "rouge2": 0.4 / 2, "rougeL": f1 / 2, "rougeLsum": f1 / 2})


@pytest.mark.parametrize("use_stemmer", [False, True])
def test_it_is_the_mean_of_rouge_score(use_stemmer):
    predictions = [*PREDICTIONS, "first line here\nsecond line"]
    references = [*REFERENCES, "second line\nlines of the first"]
    scorer = RougeScorer(KEYS, use_stemmer=use_stemmer)
    rows = [scorer.score(right, found) for found, right in zip(predictions, references, strict=True)]
    expected = {key: sum(row[key].fmeasure for row in rows) / len(rows) for key in KEYS}
    assert Rouge(use_stemmer=use_stemmer).compute(predictions, references) == pytest.approx(expected)


def test_of_several_references_the_best_counts():
    assert Rouge().compute(["a b c"], [["x", "a b c", "a"]]) == dict.fromkeys(KEYS, 1.0)


def test_other_scripts_share_nothing():
    assert Rouge().compute(["日本語"], ["日本語"]) == dict.fromkeys(KEYS, 0.0)
