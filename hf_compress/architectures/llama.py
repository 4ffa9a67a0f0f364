"""Llama and the models that are built like it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward


@dataclass(frozen=True, kw_only=True)
class Llama(Architecture, name="llama"):
    """Gated feed-forward, grouped keys and values, a norm before each part."""

    blocks: ClassVar[str] = "layers"
    num_layers: ClassVar[str] = "num_hidden_layers"
    attention: ClassVar[Attention] = Attention(
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        output="self_attn.o_proj",
        heads="num_attention_heads",
        key_value_heads="num_key_value_heads",
        head_size="head_dim",
    )
    feed_forward: ClassVar[FeedForward] = FeedForward(
        inputs=("mlp.gate_proj", "mlp.up_proj"), output="mlp.down_proj", width="intermediate_size"
    )

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """Each part reads the norm before it."""
        attention = self.attention
        return {
            "input_layernorm": (attention.query, attention.key, attention.value),
            "post_attention_layernorm": self.feed_forward.inputs,
        }


@dataclass(frozen=True, kw_only=True)
class Mistral(Llama, name="mistral"):
    """Llama with one sliding window for all layers."""


@dataclass(frozen=True, kw_only=True)
class Qwen2(Llama, name="qwen2"):
    """Llama with biases at queries, keys and values; each layer may have a kind of attention of its own."""

    per_layer: ClassVar[tuple[str, ...]] = ("layer_types",)


@dataclass(frozen=True, kw_only=True)
class Qwen3(Llama, name="qwen3"):
    """Llama with a norm within each head of queries and keys; each layer may have a kind of attention of its own."""

    per_layer: ClassVar[tuple[str, ...]] = ("layer_types",)
