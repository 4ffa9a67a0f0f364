"""OPT."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class OPT(Architecture, name="opt"):
    """A norm before each part, or behind it where the config says so (opt-350m).

    The embeddings' width is a key of its own, and the hidden size unless they are projected.
    """

    hidden: ClassVar[tuple[str, ...]] = ("hidden_size", "word_embed_proj_dim")

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One; with norms behind the parts, the feed-forward part reads the attention's."""
        attention = Attention(
            query="self_attn.q_proj",
            key="self_attn.k_proj",
            value="self_attn.v_proj",
            output="self_attn.out_proj",
            heads="num_attention_heads",
        )
        before = {
            "self_attn_layer_norm": (attention.query, attention.key, attention.value),
            "final_layer_norm": ("fc1",),
        }
        return (
            Stack(
                blocks="decoder.layers",
                num_layers="num_hidden_layers",
                attention=attention,
                feed_forward=FeedForward(inputs=("fc1",), output="fc2", width="ffn_dim"),
                norm_readers=before if config.do_layer_norm_before else {"self_attn_layer_norm": ("fc1",)},
            ),
        )
