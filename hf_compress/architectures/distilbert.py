"""DistilBERT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward


@dataclass(frozen=True, kw_only=True)
class DistilBert(Architecture, name="distilbert"):
    """A norm behind each part."""

    blocks: ClassVar[str] = "transformer.layer"
    num_layers: ClassVar[str] = "n_layers"
    attention: ClassVar[Attention] = Attention(
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        output="attention.out_lin",
        heads="n_heads",
    )
    feed_forward: ClassVar[FeedForward] = FeedForward(inputs=("ffn.lin1",), output="ffn.lin2", width="hidden_dim")

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """The attention's norm; the other is read by the next block."""
        return {"sa_layer_norm": self.feed_forward.inputs}
