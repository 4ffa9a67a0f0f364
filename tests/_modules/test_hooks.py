"""Hooks that go with the block they are for."""

import pytest
import torch
from torch import nn

from hf_compress._modules.hooks import removed_afterwards


def test_they_watch_in_the_block_and_are_gone_however_it_ends():
    layer, seen = nn.Linear(2, 2), []

    def watch():
        return (layer.register_forward_hook(lambda *_, k=k: seen.append(k)) for k in range(2))

    with removed_afterwards(watch()):
        layer(torch.ones(1, 2))
    layer(torch.ones(1, 2))
    with pytest.raises(ZeroDivisionError), removed_afterwards(watch()):
        layer(torch.ones(1, 2))
        raise ZeroDivisionError
    layer(torch.ones(1, 2))
    assert seen == [0, 1, 0, 1] and not layer._forward_hooks
