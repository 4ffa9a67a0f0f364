"""Characters that are wrong in a transcription."""

import random

import jiwer
import pytest

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.cer import CharacterErrorRate


def test_it_by_hand():
    # One character replaced, one left out, one put in; the references have seven.
    found = CharacterErrorRate().compute(["axc", "efgg"], ["abcd", "efg"])
    assert found == {"cer": pytest.approx(3 / 7)}


def test_it_is_that_of_jiwer():
    draws = random.Random(0)
    words = ["zwölf", "drei", "two", "日本", "Ō", "a"]
    references = [" ".join(draws.choices(words, k=draws.randrange(0, 6))) for _ in range(50)]
    predictions = [" ".join(draws.choices(words, k=draws.randrange(0, 6))) for _ in range(50)]
    assert CharacterErrorRate().compute(predictions, references) == {"cer": jiwer.cer(references, predictions)}


def test_it_is_that_of_all_rows_together_and_not_the_mean_over_rows():
    predictions, references = ["x", "one two three four five"], ["a", "one two three four five"]
    whole = CharacterErrorRate().compute(predictions, references)["cer"]
    means = [
        CharacterErrorRate().compute([found], [right])["cer"] for found, right in zip(predictions, references, strict=True)
    ]
    assert whole < sum(means) / 2


def test_an_empty_prediction_is_all_wrong_and_more_than_all_may_be_wrong():
    assert CharacterErrorRate().compute(["", "a"], ["a", "a"]) == {"cer": 0.5}
    assert CharacterErrorRate().compute(["b c d"], ["a"])["cer"] > 1


def test_what_it_cannot_count_is_refused():
    with pytest.raises(CompressionError, match="cer is not defined where no reference has a character"):
        CharacterErrorRate().compute(["a", ""], ["", "  "])
    with pytest.raises(CompressionError, match="cer compares with one reference, and row 1 has 2; keep one of them"):
        CharacterErrorRate().compute(["a", "b"], ["a", ["b", "c"]])
