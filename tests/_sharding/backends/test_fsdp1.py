"""FSDP 1 is refused."""

import pytest
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from hf_compress import CompressionError
from hf_compress._sharding.contract import check_supported


def refused():
    """As it stands inside a model; a real one needs an accelerator."""
    wrapper = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    nn.Module.__init__(wrapper)
    return nn.Sequential(wrapper)


def test_it_says_what_to_set():
    with pytest.raises(CompressionError, match="^pruning under FSDP 1 is not supported: .*set fsdp_version: 2"):
        check_supported(refused(), "pruning")
