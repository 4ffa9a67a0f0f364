"""Words that are wrong in a transcription."""

import random

import jiwer
import pytest

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.wer import WordErrorRate


def test_it_by_hand():
    # One word replaced, one left out, one put in; the references have seven.
    found = WordErrorRate().compute(["the cat sit", "a dog ran off"], ["the cat sat down", "a dog ran"])
    assert found == {"wer": pytest.approx(3 / 7)}


def test_it_is_that_of_jiwer():
    draws = random.Random(0)
    words = ["zwölf", "drei", "two", "日本", "Ō", "a"]
    references = [" ".join(draws.choices(words, k=draws.randrange(0, 6))) for _ in range(50)]
    predictions = [" ".join(draws.choices(words, k=draws.randrange(0, 6))) for _ in range(50)]
    assert WordErrorRate().compute(predictions, references) == {"wer": jiwer.wer(references, predictions)}


def test_it_is_that_of_all_rows_together_and_not_the_mean_over_rows():
    predictions, references = ["x", "one two three four five"], ["a", "one two three four five"]
    whole = WordErrorRate().compute(predictions, references)["wer"]
    means = [WordErrorRate().compute([found], [right])["wer"] for found, right in zip(predictions, references, strict=True)]
    assert whole < sum(means) / 2


def test_an_empty_prediction_is_all_wrong_and_more_than_all_may_be_wrong():
    assert WordErrorRate().compute(["", "a"], ["a", "a"]) == {"wer": 0.5}
    assert WordErrorRate().compute(["b c d"], ["a"])["wer"] > 1


def test_what_it_cannot_count_is_refused():
    with pytest.raises(CompressionError, match="wer is not defined where no reference has a word"):
        WordErrorRate().compute(["a", ""], ["", "  "])
    with pytest.raises(CompressionError, match="wer compares with one reference, and row 1 has 2; keep one of them"):
        WordErrorRate().compute(["a", "b"], ["a", ["b", "c"]])
