"""FSDP2: slices along the first dimension; what several processes do is in the contract test."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from hf_compress import CompressionError
from hf_compress._sharding.across import ALONE
from hf_compress._sharding.backends.fsdp2 import FSDP2


def lay_out(model):
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in (model.model.layers if hasattr(model, "model") else model.transformer.h)[:1]:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


@pytest.fixture
def mesh():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1, 1))
    torch.distributed.destroy_process_group()


def test_of_replicated_shards_the_processes_of_one_replica_add_up(mesh):
    tensor = distribute_tensor(torch.ones(4, 2), mesh, [Replicate(), Shard(1)])
    assert FSDP2().dimension(tensor) == 1
    assert FSDP2().across(tensor).group is mesh.get_group(1)
    replicated = distribute_tensor(torch.ones(4, 2), mesh, [Replicate(), Replicate()])
    assert FSDP2().dimension(replicated) is None and FSDP2().across(replicated) is ALONE


def test_a_weight_that_is_cut_twice_is_refused(mesh):
    tensor = distribute_tensor(torch.ones(4, 2), mesh, [Shard(0), Shard(1)])
    with pytest.raises(CompressionError, match=r"\(4, 2\) lies in the processes as .*shard with FSDP2 alone"):
        FSDP2().across(tensor)
