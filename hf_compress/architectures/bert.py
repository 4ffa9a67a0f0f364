"""BERT and RoBERTa."""

from dataclasses import dataclass
from typing import Any

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class Bert(Architecture, name="bert"):
    """A norm behind each part; the second one's is read by the next block."""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        attention = Attention(
            query="attention.self.query",
            key="attention.self.key",
            value="attention.self.value",
            output="attention.output.dense",
            heads="num_attention_heads",
        )
        return (
            Stack(
                blocks="encoder.layer",
                num_layers="num_hidden_layers",
                attention=attention,
                feed_forward=FeedForward(inputs=("intermediate.dense",), output="output.dense", width="intermediate_size"),
                norm_readers={"attention.output.LayerNorm": ("intermediate.dense",)},
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Roberta(Bert, name="roberta"):
    """Built like BERT."""
