"""DeepSpeed ZeRO-3: refused."""

from dataclasses import dataclass

from torch import nn

from hf_compress._sharding.contract import Sharding


@dataclass(frozen=True, kw_only=True)
class ZeRO3(Sharding, name="zero3"):
    """Parameters are gathered for each use and empty in between; DeepSpeed keeps the parts."""

    def refusal(self, model: nn.Module) -> str | None:
        """Known by the number that DeepSpeed gives each parameter."""
        if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
            return (
                "under DeepSpeed ZeRO-3 is not supported: its parameters are empty between steps; train with DDP or FSDP2"
            )
        return None
