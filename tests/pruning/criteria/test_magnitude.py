"""score = |w|."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.criterion import Criterion


def test_the_score_is_the_absolute_value_in_fp32():
    weight = torch.tensor([[1.0, -2.0], [0.0, -0.5]], dtype=torch.bfloat16)
    score = Magnitude().score(weight, {})
    assert score.dtype == torch.float32
    assert torch.equal(score, torch.tensor([[1.0, 2.0], [0.0, 0.5]]))


def test_a_sign_does_not_change_the_score():
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Magnitude().score(weight, {}), Magnitude().score(-weight, {}))


def test_a_trainable_weight_gives_a_score_without_a_graph_and_stays_as_it_is():
    weight = torch.tensor([[1.0, -2.0]], requires_grad=True)
    assert not Magnitude().score(weight, {}).requires_grad
    assert torch.equal(weight, torch.tensor([[1.0, -2.0]]))


def test_it_needs_no_statistics_and_takes_no_arguments():
    assert Magnitude().needs == ()
    with pytest.raises(CompressionError, match="unknown argument of criterion 'magnitude' 'power'"):
        Criterion.create("magnitude", power=2)
