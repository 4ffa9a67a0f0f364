"""GPT-NeoX and Pythia."""

from dataclasses import dataclass
from typing import Any

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class GPTNeoX(Architecture, name="gpt_neox"):
    """Queries, keys and values in one module, head by head; both parts may read the block's input side by side."""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        fused = "attention.query_key_value"
        attention = Attention(
            query=fused, key=fused, value=fused, output="attention.dense", heads="num_attention_heads", by_head=True
        )
        return (
            Stack(
                blocks="layers",
                num_layers="num_hidden_layers",
                attention=attention,
                feed_forward=FeedForward(
                    inputs=("mlp.dense_h_to_4h",), output="mlp.dense_4h_to_h", width="intermediate_size"
                ),
                norm_readers={"input_layernorm": (fused,), "post_attention_layernorm": ("mlp.dense_h_to_4h",)},
            ),
        )
