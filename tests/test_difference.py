"""Where plain data differs first."""

import pytest

from hf_compress._difference import difference

CASES = [
    ({"a": 1}, {"a": 1}, None),
    ({"a": 1}, {"a": 2}, "a is 1 and should be 2"),
    ({"a": {"b": [1]}}, {"a": {"b": [2]}}, "a.b is [1] and should be [2]"),
    ({}, {"a": None}, "a is not there and should be None"),
    ({"a": 0}, {}, "a is 0 and should not be there"),
    ({"a": True}, {"a": 1}, "a is True and should be 1"),
    ({"a": 1.0}, {"a": 1}, "a is 1.0 and should be 1"),
    ({"a": {}}, {"a": None}, "a is {} and should be None"),
]


@pytest.mark.parametrize(("found", "wanted", "expected"), CASES)
def test_the_first_difference_by_hand(found, wanted, expected):
    assert difference(found, wanted) == expected
