"""Translations, by the word sequences that they share with right ones."""

import math

import pytest
import sacrebleu

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.bleu import Bleu
from tests.tasks.metrics.translations import PREDICTIONS, REFERENCES, streams


def test_one_sentence_by_hand():
    # Five words, four of them right; n-grams right: 4/5, 3/4, 2/3, 1/2, and no penalty, both are as long.
    found = Bleu().compute(["a b c d x"], ["a b c d e"])
    assert found == {"bleu": pytest.approx(100 * math.prod((4 / 5, 3 / 4, 2 / 3, 1 / 2)) ** 0.25)}


@pytest.mark.parametrize(
    "options", [{}, {"lowercase": True}, {"tokenize": "intl"}, {"tokenize": "char"}, {"tokenize": "zh"}]
)
def test_it_is_that_of_sacrebleu(options):
    expected = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES], **options).score
    assert Bleu(**options).compute(PREDICTIONS, REFERENCES) == {"bleu": expected}
    assert Bleu(**options).compute(PREDICTIONS, [[text] for text in REFERENCES]) == {"bleu": expected}


def test_rows_may_have_different_numbers_of_references():
    several = [[text, text.upper(), "other"][: 1 + row % 3] for row, text in enumerate(REFERENCES)]
    expected = sacrebleu.corpus_bleu(PREDICTIONS, streams(several)).score
    assert Bleu().compute(PREDICTIONS, several) == {"bleu": expected}
    with pytest.raises(CompressionError, match="bleu: row 0 has no reference; give it a text, which may be empty"):
        Bleu().compute(["a"], [[]])


def test_empty_texts_are_zero():
    assert Bleu().compute([""], ["a b"]) == Bleu().compute(["a b"], [""]) == {"bleu": 0.0}
