"""The share of right answers."""

import numpy
import pytest
from sklearn.metrics import accuracy_score

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy


def test_right_of_all_by_hand():
    assert Accuracy().compute([0, 2, 1, 1], [0, 1, 1, 1]) == {"accuracy": 0.75}


def test_a_set_of_labels_is_right_as_a_whole():
    assert Accuracy().compute([[1, 0], [1, 1], [0, 0]], [[1, 0], [1, 0], [0, 0]]) == {"accuracy": 2 / 3}


def test_it_is_that_of_scikit_learn():
    draws = numpy.random.default_rng(0)
    predictions, references = draws.integers(0, 5, 200), draws.integers(0, 4, 200)
    assert Accuracy().compute(predictions, references) == {"accuracy": accuracy_score(references, predictions)}


def test_of_tags_it_is_the_share_of_right_tokens():
    assert Accuracy().compute([["O", "NOUN"], [], ["O"]], [["O", "VERB"], [], ["O"]]) == {"accuracy": 2 / 3}
    with pytest.raises(CompressionError, match="accuracy: row 1 has 1 predicted tags and 2 right ones; give one of each"):
        Accuracy().compute([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(CompressionError, match="accuracy of no tags is not defined; every sentence is empty"):
        Accuracy().compute([[]], [[]])
