"""Patterns and names."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress._patterns import matcher


def test_patterns_match_whole_names_or_from_the_start():
    match = matcher(["a.b", r"re:c\..*"], "exclude")
    assert [match(name) for name in ("a.b", "a.b.c", "axb", "c.x", "xc.x")] == ["a.b", None, None, r"re:c\..*", None]
    with pytest.raises(CompressionError, match="take: 're:\\(' is not a regular expression"):
        matcher(["re:("], "take")
