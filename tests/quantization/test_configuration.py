"""The quantization job as a value."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.schemes.presets import W4A16, W8A8


def test_a_name_stands_for_the_scheme_with_defaults():
    assert Quantization(scheme="W8A8") == Quantization(scheme=W8A8())
    assert Quantization().scheme == W4A16()


def test_lists_of_targets_become_tuples_so_that_equal_jobs_are_equal():
    assert Quantization(targets=["Linear"], ignore=["a"]) == Quantization(targets=("Linear",), ignore=("a",))


def test_the_beginning_must_leave_at_least_one_step():
    Quantization(begin="90%").check(10)
    with pytest.raises(CompressionError, match="quantization begins at step 10, but training has 10 steps"):
        Quantization(begin="100%").check(10)
    with pytest.raises(CompressionError, match=r"quantization begins at step 20.*begin earlier, e\.g\. '60%'"):
        Quantization(begin=20).check(10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": []}, r"quantization\.targets is empty"),
        ({"begin": 0.6}, r"begin=0\.6 is not a point in training"),
        ({"scheme": "W5A16"}, "unknown scheme 'W5A16'"),
    ],
)
def test_settings_that_make_no_job_are_refused(settings, message):
    with pytest.raises(CompressionError, match=message):
        Quantization(**settings)


def test_a_training_of_one_step_is_shown_a_beginning_that_works():
    with pytest.raises(CompressionError, match=r"training has 1 steps.*begin earlier, e\.g\. 0$"):
        Quantization(begin="50%").check(1)
    Quantization(begin=0).check(1)
