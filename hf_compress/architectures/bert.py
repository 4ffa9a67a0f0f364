"""BERT and RoBERTa."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward


@dataclass(frozen=True, kw_only=True)
class Bert(Architecture, name="bert"):
    """A norm behind each part."""

    blocks: ClassVar[str] = "encoder.layer"
    num_layers: ClassVar[str] = "num_hidden_layers"
    attention: ClassVar[Attention] = Attention(
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        output="attention.output.dense",
        heads="num_attention_heads",
    )
    feed_forward: ClassVar[FeedForward] = FeedForward(
        inputs=("intermediate.dense",), output="output.dense", width="intermediate_size"
    )

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """The attention's norm; the other is read by the next block."""
        return {"attention.output.LayerNorm": self.feed_forward.inputs}


@dataclass(frozen=True, kw_only=True)
class Roberta(Bert, name="roberta"):
    """Built like BERT."""
