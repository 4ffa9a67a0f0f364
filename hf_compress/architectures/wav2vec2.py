"""Wav2Vec2 and HuBERT."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2(Architecture, name="wav2vec2"):
    """Convolutions, then blocks with a norm behind each part, or before it where the config says so (the large ones)."""

    hidden: ClassVar[tuple[str, ...]] = ("hidden_size", "output_hidden_size")

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One; with norms behind the parts, the feed-forward part reads the attention's."""
        attention = Attention(
            query="attention.q_proj",
            key="attention.k_proj",
            value="attention.v_proj",
            output="attention.out_proj",
            heads="num_attention_heads",
        )
        first = "feed_forward.intermediate_dense"
        before = {
            "layer_norm": (attention.query, attention.key, attention.value),
            "final_layer_norm": (first,),
        }
        return (
            Stack(
                blocks="encoder.layers",
                num_layers="num_hidden_layers",
                attention=attention,
                feed_forward=FeedForward(inputs=(first,), output="feed_forward.output_dense", width="intermediate_size"),
                norm_readers=before if config.do_stable_layer_norm else {"layer_norm": (first,)},
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Hubert(Wav2Vec2, name="hubert"):
    """Built like Wav2Vec2."""
