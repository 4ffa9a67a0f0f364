import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.breadcrumbs_ties import BreadcrumbsTies
from hf_compress.merging.methods.ties import Ties
from tests.merging.merged import merged, models, operands_of


def test_outliers_go_before_the_signs_are_elected_by_hand():
    base = torch.zeros(4)
    ada, bob = torch.tensor([-9.0, 2.0, 3.0, 1.0]), torch.tensor([1.0, -9.0, 5.0, 2.0])
    # Without outliers and the smallest: [0, 2, 3, 0] and [0, 0, 5, 2].
    method = BreadcrumbsTies(density=0.5, gamma=0.25)
    assert merged(method, operands_of([ada, bob], base)).tolist() == [0, 2, 4, 2]


def test_without_outliers_it_is_ties():
    members, base = models((9, 14))
    operands = operands_of(members, base, weight=(0.2, 0.5, 0.9), density=(0.3, 0.5, 0.7), gamma=(0.0, 0.0, 0.0))
    for compat in ("paper", "peft"):
        assert torch.equal(merged(BreadcrumbsTies(compat=compat), operands), merged(Ties(compat=compat), operands))


def test_shares_that_exceed_one_are_refused():
    with pytest.raises(CompressionError, match=r"breadcrumbs_ties: density=1.0 and gamma=0.01 .* set gamma to 0 or less"):
        BreadcrumbsTies(density=1.0)
