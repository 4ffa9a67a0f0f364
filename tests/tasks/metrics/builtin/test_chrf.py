"""Translations, by the character sequences that they share with right ones."""

import pytest
import sacrebleu

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.chrf import ChrF
from tests.tasks.metrics.translations import PREDICTIONS, REFERENCES, streams


def test_single_characters_by_hand():
    # 3 of 4 predicted characters are right, 3 of 5 are found: P = 3/4, R = 3/5, (1 + 4) P R / (4 P + R).
    assert ChrF(char_order=1).compute(["abcx"], ["abcde"]) == {"chrf": pytest.approx(100 * 5 * 0.45 / 3.6)}


@pytest.mark.parametrize("options", [{}, {"word_order": 2}, {"char_order": 3, "beta": 1}])
def test_it_is_that_of_sacrebleu(options):
    expected = sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES], **options).score
    assert ChrF(**options).compute(PREDICTIONS, REFERENCES) == {"chrf": expected}
    several = [[text, text.upper(), "other"][: 1 + row % 3] for row, text in enumerate(REFERENCES)]
    expected = sacrebleu.corpus_chrf(PREDICTIONS, streams(several), **options).score
    assert ChrF(**options).compute(PREDICTIONS, several) == {"chrf": expected}


def test_lower_case_is_all_the_same_where_asked_for():
    assert ChrF(lowercase=True).compute(["ÉTÉ IN THE CITY"], ["Été in the city"]) == {"chrf": 100}
    assert ChrF().compute(["ÉTÉ IN THE CITY"], ["Été in the city"])["chrf"] < 50


def test_orders_that_are_none_are_refused():
    for name, value, least in (("char_order", 0, 1), ("word_order", -1, 0), ("beta", 0, 1)):
        with pytest.raises(CompressionError, match=f"{name}={value} must be {least} or more"):
            ChrF(**{name: value})
