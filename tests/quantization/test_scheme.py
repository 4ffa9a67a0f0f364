"""The contract of a scheme, in compressed-tensors' vocabulary."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.quantization.scheme import Scheme, scheme_of
from hf_compress.quantization.schemes.presets import W4A16, W8A8


def test_a_scheme_carries_the_targets_into_compressed_tensors():
    assert W4A16().to_compressed_tensors(["Linear", "re:.*up_proj"]).targets == ["Linear", "re:.*up_proj"]


def test_a_scheme_is_known_again_by_what_a_checkpoint_says_of_it():
    for scheme in (W4A16(), W4A16(group_size=32), W8A8()):
        assert scheme_of(scheme.to_compressed_tensors(["Linear"])) == scheme
    other = W4A16().to_compressed_tensors(["Linear"])
    other.weights.symmetric = False
    assert scheme_of(other) is None


def test_an_unknown_scheme_is_refused_with_the_nearest_name():
    with pytest.raises(CompressionError, match="unknown scheme 'W4A61'; did you mean 'W4A16'"):
        Scheme.create("W4A61")
