"""GPT-2."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class GPT2(Architecture, name="gpt2"):
    """Queries, keys and values in one module; a norm before each part."""

    hidden: ClassVar[tuple[str, ...]] = ("n_embd",)

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        attention = Attention(
            query="attn.c_attn", key="attn.c_attn", value="attn.c_attn", output="attn.c_proj", heads="n_head"
        )
        return (
            Stack(
                blocks="h",
                num_layers="n_layer",
                attention=attention,
                feed_forward=FeedForward(inputs=("mlp.c_fc",), output="mlp.c_proj", width="n_inner"),
                norm_readers={"ln_1": ("attn.c_attn",), "ln_2": ("mlp.c_fc",)},
            ),
        )

    def place_matters(self, config: Any) -> str:
        """With this key a block divides its attention scores by its place."""
        return "scale_attn_by_inverse_layer_idx" if config.scale_attn_by_inverse_layer_idx else ""
