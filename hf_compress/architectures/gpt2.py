"""GPT-2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward


@dataclass(frozen=True, kw_only=True)
class GPT2(Architecture, name="gpt2"):
    """Queries, keys and values in one module; a norm before each part."""

    blocks: ClassVar[str] = "h"
    num_layers: ClassVar[str] = "n_layer"
    attention: ClassVar[Attention] = Attention(
        query="attn.c_attn", key="attn.c_attn", value="attn.c_attn", output="attn.c_proj", heads="n_head"
    )
    feed_forward: ClassVar[FeedForward] = FeedForward(inputs=("mlp.c_fc",), output="mlp.c_proj", width="n_inner")

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """Each part reads the norm before it."""
        return {"ln_1": (self.attention.query,), "ln_2": self.feed_forward.inputs}

    def place_matters(self, config: Any) -> str:
        """With this key a block divides its attention scores by its place."""
        return "scale_attn_by_inverse_layer_idx" if config.scale_attn_by_inverse_layer_idx else ""
