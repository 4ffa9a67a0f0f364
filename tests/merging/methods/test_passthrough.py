import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.passthrough import Passthrough
from tests.merging.methods.applied import merged, random


def test_the_tensor_is_copied_and_scaled():
    assert merged(Passthrough(), [1.0, -2.0]).tolist() == [1.0, -2.0]
    assert merged(Passthrough(scale=0.5), [1.0, -2.0]).tolist() == [0.5, -1.0]


def test_the_members_own_scale_wins():
    assert merged(Passthrough(scale=0.5), [1.0, -2.0], scale=(3.0,)).tolist() == [3.0, -6.0]


def test_half_precision_keeps_its_values_and_its_storage():
    model = random(6, 5, dtype=torch.bfloat16)
    result = merged(Passthrough(scale=1.0), model)
    assert torch.equal(result.bfloat16(), model)
    result.zero_()
    assert model.abs().max() > 0


def test_two_sources_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: passthrough takes exactly one source .* 2 \(m0, m1\)"):
        merged(Passthrough(), [1.0], [2.0])
