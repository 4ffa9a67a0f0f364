"""DistilBERT."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


@dataclass(frozen=True, kw_only=True)
class DistilBert(Architecture, name="distilbert"):
    """A norm behind each part; the second one's is read by the next block."""

    hidden: ClassVar[tuple[str, ...]] = ("dim",)

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        attention = Attention(
            query="attention.q_lin",
            key="attention.k_lin",
            value="attention.v_lin",
            output="attention.out_lin",
            heads="n_heads",
        )
        return (
            Stack(
                blocks="transformer.layer",
                num_layers="n_layers",
                attention=attention,
                feed_forward=FeedForward(inputs=("ffn.lin1",), output="ffn.lin2", width="hidden_dim"),
                norm_readers={"sa_layer_norm": ("ffn.lin1",)},
            ),
        )
