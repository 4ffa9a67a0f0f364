"""What a row costs where few rows of a batch arrive."""

from math import comb

import pytest

from hf_compress._errors import CompressionError
from hf_compress.ensembling.member_costs import MemberCosts


def slow(full, alone, size, share):
    """The mean over all numbers of rows that may arrive, of a call and its rows, over the mean number of rows."""
    row = (size * full - alone) / (size - 1)
    call = alone - row
    paid = sum(comb(size, n) * share**n * (1 - share) ** (size - n) * (call + n * row) for n in range(1, size + 1))
    return paid / (share * size)


@pytest.mark.parametrize("size", [2, 8, 32])
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_as_the_sum_over_all_numbers_of_rows(size, share):
    costs = MemberCosts(each=(2.0, 3.0), alone=(5.0, 4.0), batch_size=size)
    expected = [slow(2.0, 5.0, size, share), slow(3.0, 4.0, size, share)]
    assert costs.where_reached([share, share]) == pytest.approx(expected)


def test_a_row_that_arrives_alone_costs_what_it_does_alone_and_a_full_batch_what_it_did():
    costs = MemberCosts(each=(2.0,), alone=(5.0,), batch_size=8)
    assert costs.where_reached([0.0]) == pytest.approx((5.0,))
    assert costs.where_reached([1e-6]) == pytest.approx((5.0,), rel=1e-4)
    assert costs.where_reached([1.0]) == pytest.approx((2.0,))


def test_without_calls_a_row_costs_the_same_everywhere():
    assert MemberCosts(each=(1.0, 2.0)).where_reached([1.0, 0.1]) == (1.0, 2.0)
    assert MemberCosts(each=(1.0,), alone=(9.0,), batch_size=1).where_reached([0.1]) == (1.0,)
    assert MemberCosts(each=(3.0,), alone=(2.0,), batch_size=4).where_reached([0.1]) == (3.0,)


def test_refused():
    with pytest.raises(CompressionError, match="batch_size=0; a batch has one row or more"):
        MemberCosts(each=(1.0,), batch_size=0)
    with pytest.raises(CompressionError, match="1 costs of a row alone for 2 members"):
        MemberCosts(each=(1.0, 2.0), alone=(1.0,))
