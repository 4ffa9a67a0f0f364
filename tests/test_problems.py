"""Several refusals as one."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError, and_more, check_all, refuse_first


def refuse(text):
    raise CompressionError(text)


def test_all_checks_run_and_nothing_is_said_twice():
    with pytest.raises(RecipeError) as refusal:
        check_all(lambda: refuse("a: is wrong"), lambda: None, lambda: refuse("b: too\na: is wrong"))
    assert str(refusal.value).splitlines() == ["a: is wrong", "b: too"]
    check_all(lambda: None)


def test_of_many_sentences_the_first_are_said_and_the_others_counted():
    refuse_first([])
    for number, last in ((10, "9"), (12, "... and 2 more")):
        with pytest.raises(CompressionError) as refusal:
            refuse_first([str(each) for each in range(number)])
        lines = str(refusal.value).splitlines()
        assert lines[:10] == [str(each) for each in range(10)] and lines[-1] == last


def test_the_first_of_many_and_the_number_of_the_others():
    assert [and_more(list("abcd")[:count]) for count in (1, 2, 4)] == ["a", "a and 1 more", "a and 3 more"]
    assert [and_more(list("abcd"), most) for most in (3, 4, 5)] == ["a, b, c and 1 more", "a, b, c, d", "a, b, c, d"]
