"""Llama and the models that are built like it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack

ATTENTION = Attention(
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    heads="num_attention_heads",
    key_value_heads="num_key_value_heads",
    head_size="head_dim",
)
FEED_FORWARD = FeedForward(inputs=("mlp.gate_proj", "mlp.up_proj"), output="mlp.down_proj", width="intermediate_size")


@dataclass(frozen=True, kw_only=True)
class Llama(Architecture, name="llama"):
    """Gated feed-forward, grouped keys and values, a norm before each part.

    Attributes:
        before_feed_forward: the norm that the feed-forward part reads.
        per_layer: as a stack has it.
    """

    before_feed_forward: ClassVar[str] = "post_attention_layernorm"
    per_layer: ClassVar[tuple[str, ...]] = ()

    def feed_forward(self, config: Any) -> FeedForward:
        """The feed-forward part of a block."""
        return FEED_FORWARD

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        feed_forward = self.feed_forward(config)
        readers: Mapping[str, tuple[str, ...]] = {
            "input_layernorm": (ATTENTION.query, ATTENTION.key, ATTENTION.value),
            self.before_feed_forward: feed_forward.inputs,
        }
        return (
            Stack(
                blocks="layers",
                num_layers="num_hidden_layers",
                attention=ATTENTION,
                feed_forward=feed_forward,
                norm_readers=readers,
                per_layer=self.per_layer,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Mistral(Llama, name="mistral"):
    """Llama with one sliding window for all layers."""


@dataclass(frozen=True, kw_only=True)
class Qwen2(Llama, name="qwen2"):
    """Llama with biases at queries, keys and values; each layer may have a kind of attention of its own."""

    per_layer: ClassVar[tuple[str, ...]] = ("layer_types",)


@dataclass(frozen=True, kw_only=True)
class Qwen3(Qwen2, name="qwen3"):
    """Llama with a norm within each head of queries and keys; each layer may have a kind of attention of its own."""
