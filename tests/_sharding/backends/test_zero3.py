"""DeepSpeed ZeRO-3 is refused."""

import pytest
from torch import nn

from hf_compress import CompressionError
from hf_compress._sharding.contract import check_supported


def refused():
    """A model whose parameters carry the number that DeepSpeed gives them."""
    model = nn.Linear(2, 2)
    model.weight.ds_id = 0
    return model


def test_it_says_how_to_train_instead():
    with pytest.raises(CompressionError, match="^weight averaging under DeepSpeed ZeRO-3 .*train with DDP or FSDP2"):
        check_supported(refused(), "weight averaging")
