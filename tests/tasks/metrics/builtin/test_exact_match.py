"""The share of predictions that are one of the right ones, letter for letter."""

import numpy

from hf_compress.tasks.metrics.builtin.exact_match import ExactMatch


def test_texts_by_hand():
    predictions, references = ["Yes", "no.", "7 cats", "ja"], ["yes", "no", "9 cats", ["si", "ja"]]
    assert ExactMatch().compute(predictions, references) == {"exact_match": 0.25}
    assert ExactMatch(ignore_case=True).compute(predictions, references) == {"exact_match": 0.5}
    assert ExactMatch(ignore_case=True, ignore_punctuation=True).compute(predictions, references) == {"exact_match": 0.75}
    everything = ExactMatch(ignore_case=True, ignore_punctuation=True, ignore_numbers=True)
    assert everything.compute(predictions, references) == {"exact_match": 1.0}


def test_empty_texts_and_white_space_count():
    assert ExactMatch().compute(["", " ", "é"], ["", "", "é"]) == {"exact_match": 2 / 3}


def test_of_classes_it_is_the_accuracy():
    assert ExactMatch().compute(numpy.array([0, 1, 2, 2]), numpy.array([0, 1, 1, 2])) == {"exact_match": 0.75}
