"""Models that from_pretrained sharded are refused."""

import pytest

from hf_compress import CompressionError
from hf_compress._sharding.contract import check_supported
from tests.tiny import tiny_llama


def refused():
    """A model whose config says so."""
    model = tiny_llama()
    model.config.distributed_config = {"tp_size": 2}
    return model


def test_it_says_how_to_load_instead():
    with pytest.raises(CompressionError, match="sharded by from_pretrained is not supported: .*load it whole"):
        check_supported(refused(), "pruning")
