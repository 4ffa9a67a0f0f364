import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.della import Della
from hf_compress.merging.methods.della_linear import DellaLinear
from hf_compress.merging.methods.ties import Ties
from tests.merging.merged import merged, models, operands_of


def test_the_consensus_is_that_of_ties_by_hand():
    base = torch.zeros(2, 2)
    ada, bob = torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[3.0, 1.0], [-3.0, 0.0]])
    assert merged(Della(density=1.0), operands_of([ada, bob], base)).tolist() == [[2, -2], [0, 0]]


def test_at_density_one_it_is_ties():
    members, base = models((5, 3, 2))
    operands = operands_of(members, base, weight=(0.2, 0.5, 0.9), density=[1.0] * 3)
    torch.testing.assert_close(merged(Della(), operands), merged(Ties(), operands), rtol=0, atol=0)


def test_a_single_member_needs_no_consensus():
    [member], base = models((20, 20), num_members=1)
    operands = operands_of([member], base)
    # Dividing by the weight, 1, changes nothing; signs are put on and taken off exactly.
    assert torch.equal(merged(Della(), operands), merged(DellaLinear(), operands))


def test_a_width_that_does_not_fit_is_refused():
    with pytest.raises(CompressionError, match=r"della: density=0.1 with epsilon=0.2"):
        Della(density=0.1, epsilon=0.2)
