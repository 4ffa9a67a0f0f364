"""The functions that ask the sharding of a tensor."""

import pytest
import torch
from torch import nn

from hf_compress import CompressionError
from hf_compress._sharding.contract import Sharding, check_supported, full_shape, local, shard, whole


def test_whole_tensors_go_through_unchanged():
    weight = nn.Parameter(torch.arange(6.0).view(2, 3))
    assert full_shape(weight) == (2, 3)
    assert torch.equal(whole(local(weight) == 2, like=weight), weight == 2)
    assert torch.equal(shard(weight.detach(), like=weight), weight)


def test_a_plain_model_is_supported():
    check_supported(nn.Linear(2, 2), "pruning")


def test_a_sharding_that_is_declared_later_is_asked_until_it_is_forgotten(monkeypatch):
    monkeypatch.setattr(Sharding, "_registry", dict(Sharding.available()))
    for name in ("first", "second"):
        with monkeypatch.context() as patch:
            patch.setattr(Sharding, "_registry", dict(Sharding._registry))
            refusing = {"refusal": lambda self, model, name=name: f"by the {name} is not supported"}
            type(name, (Sharding,), refusing, name=name)
            with pytest.raises(CompressionError, match=f"^pruning by the {name} is not supported"):
                check_supported(nn.Linear(2, 2), "pruning")
        check_supported(nn.Linear(2, 2), "pruning")


def test_a_sharding_that_forgets_a_part_names_itself():
    class Forgetful(Sharding):
        pass

    with pytest.raises(TypeError, match=r"Forgetful defines no local\(\)"):
        Forgetful().local(torch.zeros(1))
    with pytest.raises(TypeError, match=r"Forgetful defines no whole\(\)"):
        Forgetful().whole(torch.zeros(1), torch.zeros(1))
    with pytest.raises(TypeError, match=r"Forgetful defines no shard\(\)"):
        Forgetful().shard(torch.zeros(1), torch.zeros(1))
