"""Answers out of a text, against numbers by hand and the rules of SQuAD's evaluation script written out once more."""

import random
import re
import string
from collections import Counter

import pytest

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.squad import Squad


def rows(*answered):
    predictions = [{"id": str(i), "prediction_text": found} for i, (found, *_) in enumerate(answered)]
    references = [
        {"id": str(i), "answers": {"text": right, "answer_start": [0] * len(right)}}
        for i, (_, *right) in enumerate(answered)
    ]
    return predictions, references


def reference(predictions, references):
    """Step by step as in the script for version 1.1."""

    def normalize(text):
        text = text.lower()
        text = "".join(letter for letter in text if letter not in set(string.punctuation))
        text = re.sub(r"\b(a|an|the)\b", " ", text)
        return " ".join(text.split())

    def f1(found, right):
        found, right = normalize(found).split(), normalize(right).split()
        same = sum((Counter(found) & Counter(right)).values())
        if same == 0:
            return 0
        precision, recall = same / len(found), same / len(right)
        return (2 * precision * recall) / (precision + recall)

    best_f1, best_exact = 0, 0
    for found, row in zip(predictions, references, strict=True):
        texts = row["answers"]["text"]
        best_f1 += max(f1(found["prediction_text"], text) for text in texts)
        best_exact += max(normalize(found["prediction_text"]) == normalize(text) for text in texts)
    return {"f1": 100.0 * best_f1 / len(references), "exact_match": 100.0 * best_exact / len(references)}


def test_answers_by_hand():
    # "The Tower!" is "tower". Of "in old Paris" and "old Paris, France" two words of three are shared: F1 2/3.
    found = Squad().compute(*rows(("The  Tower!", "a tower", "spire"), ("in old Paris", "old Paris, France")))
    assert found == {"f1": pytest.approx(100 * (1 + 2 / 3) / 2), "exact_match": 50.0}


def test_it_is_that_of_the_script():
    draws = random.Random(0)
    words = ["the", "a", "An", "Eiffel", "tower,", "in", "Paris.", "1889", "--", "café", "l'été", "日本", "ẞ"]

    def text():
        return " ".join(draws.choices(words, k=draws.randrange(0, 5)))

    drawn = rows(*[(text(), *[text() for _ in range(draws.randrange(1, 4))]) for _ in range(200)])
    assert Squad().compute(*drawn) == pytest.approx(reference(*drawn))


def test_predictions_meet_their_questions_by_id():
    predictions, references = rows(("one", "one"), ("two", "two"), ("no", "three"))
    assert Squad().compute(predictions[::-1], references) == Squad().compute(predictions, references)
    with pytest.raises(CompressionError, match="question '2' has no prediction; predict \"\" where there is none"):
        Squad().compute([*predictions[:2], {"id": "9", "prediction_text": ""}], references)


def test_a_question_without_an_answer_is_right_if_nothing_is_predicted():
    assert Squad().compute(*rows(("",), ("the",), ("word",))) == {
        "f1": pytest.approx(200 / 3),
        "exact_match": pytest.approx(200 / 3),
    }
    assert Squad().compute(*rows(("", "word"))) == {"f1": 0, "exact_match": 0}
