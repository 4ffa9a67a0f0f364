import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.wise_ft import WiseFT
from tests.merging.methods.applied import merged, random


def test_alpha_interpolates_from_the_base_to_the_member():
    assert merged(WiseFT(alpha=0.25), [8.0, 1.0], base=[4.0, -3.0]).tolist() == [5.0, -2.0]
    assert merged(WiseFT(alpha=0.75), [8.0, 1.0], base=[4.0, -3.0]).tolist() == [7.0, 0.0]


def test_the_ends_and_unchanged_weights_are_exact():
    base, member = random(1000, seed=1), random(1000, seed=2, scale=1e-3)
    assert torch.equal(merged(WiseFT(alpha=0.0), member, base=base), base)
    assert torch.equal(merged(WiseFT(alpha=1.0), member, base=base), member)
    for alpha in (0.1, 0.3, 0.7):
        assert torch.equal(merged(WiseFT(alpha=alpha), base, base=base), base)


def test_extrapolation_and_weights_are_refused():
    with pytest.raises(CompressionError, match=r"alpha=1\.2 lies outside \[0, 1\]"):
        WiseFT(alpha=1.2)
    with pytest.raises(CompressionError, match=r"wise_ft has no weights, and \[0\.5\] were given; set alpha"):
        merged(WiseFT(), [1.0], base=[2.0], weights=(0.5,))
