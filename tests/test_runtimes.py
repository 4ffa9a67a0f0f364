"""What is said about memory and speed depends on the machine."""

import pytest
import torch

from hf_compress import _runtimes
from hf_compress._runtimes import describe_storage, sixteen_bits_are_slow

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "dtype", "slow"),
    [
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, "bfloat16", True),
        ({"architecture": "x86_64", "avx512_bf16": True}, "bfloat16", False),
        ({"architecture": "x86_64", "avx512_bf16": True}, "float16", True),
        ({"architecture": "x86_64"}, "float32", False),
        ({"architecture": "aarch64"}, "bfloat16", False),
        ({}, "bfloat16", False),
    ],
)
def test_a_processor_without_the_instructions_is_named(monkeypatch, capabilities, dtype, slow):
    monkeypatch.setattr(_runtimes, "_capabilities", lambda: capabilities)
    assert sixteen_bits_are_slow(dtype, CPU) is slow
    assert ("dtype=torch.float32" in describe_storage(dtype, CPU)) is slow
    assert not sixteen_bits_are_slow(dtype, torch.device("cuda"))


def test_this_machine_tells_what_it_has():
    assert describe_storage("float32", CPU) == "float32"
    assert "architecture" in _runtimes._capabilities()
