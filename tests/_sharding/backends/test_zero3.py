"""ZeRO-3: runs of flattened weights; what several processes do is in the contract test."""

import functools
from types import SimpleNamespace

import pytest
from torch import nn

from hf_compress import CompressionError
from hf_compress._sharding.contract import check_supported, loading_whole
from tests._sharding.backends import test_zero
from tests.distributed import deepspeed_on_cpu

package = deepspeed_on_cpu.PACKAGE
lay_out = functools.partial(test_zero.lay_out, stage=3)
trained, states = test_zero.trained, test_zero.states


def test_weights_on_a_disk_are_refused():
    layer = nn.Linear(2, 2)
    for place in (None, "nvme"):
        layer.weight.ds_id, layer.weight.ds_tensor = 0, SimpleNamespace(final_location=place)
        if place is None:
            check_supported(layer, "pruning")
    with pytest.raises(CompressionError, match="^pruning under DeepSpeed ZeRO-3 with weights on a disk .* to cpu or none"):
        check_supported(layer, "pruning")


class Configuration:
    """Of DeepSpeed, as transformers keeps it: while somebody else does."""

    def is_zero3(self):
        return True


@pytest.mark.parametrize("known", [Configuration(), None])
def test_models_are_loaded_whole_inside_and_nothing_stays_of_what_happened_there(known):
    """The name that transformers keeps it under is its own; this test says when it is another."""
    from transformers.integrations import deepspeed

    if known is not None:
        deepspeed.set_hf_deepspeed_config(known)
    try:
        with loading_whole():
            assert not deepspeed.is_deepspeed_zero3_enabled()
            other = Configuration()
            deepspeed.set_hf_deepspeed_config(other)
            with loading_whole():
                assert not deepspeed.is_deepspeed_zero3_enabled()
            assert deepspeed.is_deepspeed_zero3_enabled()
        assert deepspeed.is_deepspeed_zero3_enabled() is (known is not None)
    finally:
        deepspeed.unset_hf_deepspeed_config()
