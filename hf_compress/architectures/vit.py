"""ViT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward


@dataclass(frozen=True, kw_only=True)
class ViT(Architecture, name="vit"):
    """A norm before each part. A head's size may stand in its config, though its class declares no key for it."""

    blocks: ClassVar[str] = "layers"
    num_layers: ClassVar[str] = "num_hidden_layers"
    attention: ClassVar[Attention] = Attention(
        query="attention.q_proj",
        key="attention.k_proj",
        value="attention.v_proj",
        output="attention.o_proj",
        heads="num_attention_heads",
        head_size="head_dim",
    )
    feed_forward: ClassVar[FeedForward] = FeedForward(inputs=("mlp.fc1",), output="mlp.fc2", width="intermediate_size")

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """Each part reads the norm before it."""
        attention = self.attention
        return {
            "layernorm_before": (attention.query, attention.key, attention.value),
            "layernorm_after": self.feed_forward.inputs,
        }
