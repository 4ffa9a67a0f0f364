"""FSDP 2 on CPUs: how a test's processes really shard."""

import functools

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.tensor import DTensor

from hf_compress._modules.names import canonical_name


def allow_sharding_on_cpu():
    """accelerate turns FSDP into DDP on CPUs, in silence; here processes shard, and pin no memory without a GPU."""
    original = AcceleratorState.__init__

    @functools.wraps(original)
    def initialize(self, *arguments, fsdp_plugin=None, **named):
        original(self, *arguments, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # as it does itself on GPUs
            if isinstance(fsdp_plugin.cpu_offload, CPUOffloadPolicy):
                fsdp_plugin.cpu_offload = CPUOffloadPolicy(pin_memory=False)

    AcceleratorState.__init__ = initialize


def fsdp2(state_dict_type="SHARDED_STATE_DICT", **settings):
    """TrainingArguments."""
    wrapped = {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": state_dict_type}
    return {"fsdp": True, "fsdp_config": {"version": 2, **wrapped, **settings}}


def full_weights(model):
    """Every parameter whole, under its name without wrappers, in every process."""
    return {
        canonical_name(name): (parameter.full_tensor() if isinstance(parameter, DTensor) else parameter)
        .detach()
        .cpu()
        .clone()
        for name, parameter in model.named_parameters()
    }
