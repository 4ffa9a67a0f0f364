"""The contract of a scheme, in compressed-tensors' vocabulary."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.quantization.scheme import Scheme
from hf_compress.quantization.schemes.w4a16 import W4A16


def test_a_scheme_carries_the_targets_into_compressed_tensors():
    assert W4A16().to_compressed_tensors(["Linear", "re:.*up_proj"]).targets == ["Linear", "re:.*up_proj"]


def test_another_group_size_changes_this_scheme_and_not_the_preset():
    changed = W4A16().with_group_size(32)
    assert changed == W4A16(group_size=32)
    assert changed.to_compressed_tensors(["Linear"]).weights.group_size == 32
    assert W4A16().to_compressed_tensors(["Linear"]).weights.group_size == 128


def test_an_unknown_scheme_is_refused_with_the_nearest_name():
    with pytest.raises(CompressionError, match="unknown scheme 'W4A61'; did you mean 'W4A16'"):
        Scheme.create("W4A61")
