"""Points in training, fractions and byte counts."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress._units import check_point, check_sparsity, format_bytes, resolve_point


@pytest.mark.parametrize(
    ("point", "max_steps", "step"),
    [
        (7, 100, 7),
        (7, 3, 7),
        ("0%", 100, 0),
        ("100%", 37, 37),
        ("60%", 10, 6),
        ("12.5%", 80, 10),
        (" 50 % ", 10, 5),
        ("50%", 5, 3),  # 2.5 rounds up, never to even
        ("50%", 7, 4),
        ("1%", 10, 0),
    ],
)
def test_a_point_resolves_to_the_nearest_step(point, max_steps, step):
    check_point(point, "begin")
    assert resolve_point(point, max_steps) == step


def test_shares_resolve_in_order_for_every_length_of_training():
    for max_steps in range(1, 60):
        steps = [resolve_point(f"{percent}%", max_steps) for percent in range(101)]
        assert steps == sorted(steps)
        assert steps[0] == 0
        assert steps[-1] == max_steps


@pytest.mark.parametrize("point", [0.5, True, None, "half", "50", "", "-5%", "50%%", [3]])
def test_what_is_no_point_is_refused_with_both_ways_to_write_one(point):
    with pytest.raises(CompressionError, match=r"begin=.* is not a point in training; write a step \(300\) or a share"):
        check_point(point, "begin")


def test_a_negative_step_is_refused():
    with pytest.raises(CompressionError, match="end=-1 is negative"):
        check_point(-1, "end")


def test_a_share_after_the_end_is_refused():
    with pytest.raises(CompressionError, match="'100.5%' is after the end of training"):
        check_point("100.5%", "end")


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 0.999])
def test_a_sparsity_from_zero_to_below_one_is_accepted(value):
    check_sparsity(value, "final")


@pytest.mark.parametrize("value", [1, 1.0, -0.1, 50, float("nan"), "0.5", True, None])
def test_what_is_no_sparsity_is_refused(value):
    with pytest.raises(CompressionError, match=r"final=.* is not a sparsity; it is the share of zeros, in \[0, 1\)"):
        check_sparsity(value, "final")


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 KB"),
        (1536, "1.54 KB"),
        (2_500_000, "2.50 MB"),
        (7e9, "7.00 GB"),
        (3e12, "3.00 TB"),
    ],
)
def test_bytes_are_written_in_powers_of_1000(num_bytes, text):
    assert format_bytes(num_bytes) == text
