"""ViT and DeiT."""

from dataclasses import dataclass
from typing import Any

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class ViT(Architecture, name="vit"):
    """A norm before each part. A head's size may stand in its config, though its class declares no key for it."""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        attention = Attention(
            query="attention.q_proj",
            key="attention.k_proj",
            value="attention.v_proj",
            output="attention.o_proj",
            heads="num_attention_heads",
            head_size="head_dim",
        )
        return (
            Stack(
                blocks="layers",
                num_layers="num_hidden_layers",
                attention=attention,
                feed_forward=FeedForward(inputs=("mlp.fc1",), output="mlp.fc2", width="intermediate_size"),
                norm_readers={
                    "layernorm_before": (attention.query, attention.key, attention.value),
                    "layernorm_after": ("mlp.fc1",),
                },
            ),
        )


@dataclass(frozen=True, kw_only=True)
class DeiT(ViT, name="deit"):
    """ViT with a token for distillation."""
