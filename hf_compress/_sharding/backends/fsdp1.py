"""FSDP 1: refused."""

from dataclasses import dataclass

from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from hf_compress._sharding.contract import Sharding


@dataclass(frozen=True, kw_only=True)
class FSDP1(Sharding, name="fsdp1"):
    """Parameters lie flattened, one after the other, and are cut wherever a process's share ends."""

    def refusal(self, model: nn.Module) -> str | None:
        """FSDP2 is the way out."""
        if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
            return "under FSDP 1 is not supported: its parameters are flattened into one; set fsdp_version: 2"
        return None
