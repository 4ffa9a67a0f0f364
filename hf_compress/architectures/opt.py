"""OPT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward


@dataclass(frozen=True, kw_only=True)
class OPT(Architecture, name="opt"):
    """A norm before each part, or behind it where the config says so (opt-350m)."""

    blocks: ClassVar[str] = "decoder.layers"
    num_layers: ClassVar[str] = "num_hidden_layers"
    attention: ClassVar[Attention] = Attention(
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        output="self_attn.out_proj",
        heads="num_attention_heads",
    )
    feed_forward: ClassVar[FeedForward] = FeedForward(inputs=("fc1",), output="fc2", width="ffn_dim")

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """Each part reads the norm before it; with norms behind, the feed-forward part reads the attention's."""
        attention = self.attention
        if not config.do_layer_norm_before:
            return {"self_attn_layer_norm": self.feed_forward.inputs}
        return {
            "self_attn_layer_norm": (attention.query, attention.key, attention.value),
            "final_layer_norm": self.feed_forward.inputs,
        }
