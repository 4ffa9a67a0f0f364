"""Models that transformers sharded while loading: refused."""

from dataclasses import dataclass

from torch import nn

from hf_compress._sharding.contract import Sharding


@dataclass(frozen=True, kw_only=True)
class WhileLoading(Sharding, name="while_loading"):
    """`from_pretrained(..., tp_plan=)` and its kin: cut by layer, each in its own way."""

    def refusal(self, model: nn.Module) -> str | None:
        """Known by its config."""
        if getattr(getattr(model, "config", None), "distributed_config", None) is not None:
            return (
                "of a model that was sharded by from_pretrained is not supported: only all processes together can save it;"
                " load it whole and shard it with FSDP2 (accelerate) or train with DDP"
            )
        return None
