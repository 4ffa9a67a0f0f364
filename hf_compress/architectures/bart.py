"""BART."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


def _attention(module: str, heads: str) -> Attention:
    query, key, value, output = (f"{module}.{part}_proj" for part in ("q", "k", "v", "out"))
    return Attention(query=query, key=key, value=value, output=output, heads=heads)


@dataclass(frozen=True, kw_only=True)
class Bart(Architecture, name="bart"):
    """Encoder and decoder, each with counts of its own; a norm behind each part.

    Attributes:
        norms_before: norms stand before the parts.
    """

    norms_before: ClassVar[bool] = False
    hidden: ClassVar[tuple[str, ...]] = ("d_model",)

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """The encoder, and the decoder with its cross-attention, whose keys and values the encoder's last norm feeds."""
        return tuple(map(self._stack, ("encoder", "decoder")))

    def _stack(self, name: str) -> Stack:
        attention = _attention("self_attn", f"{name}_attention_heads")
        cross = _attention("encoder_attn", attention.heads) if name == "decoder" else None
        readers: list[tuple[str, tuple[str, ...]]] = [
            ("self_attn_layer_norm", (attention.query, attention.key, attention.value))
        ]
        readers += [] if cross is None else [("encoder_attn_layer_norm", (cross.query,))]
        readers += [("final_layer_norm", ("fc1",))]
        if not self.norms_before:  # each is read by what follows, and the last one by the next block
            readers = [(norm, read) for (norm, _), (_, read) in pairwise(readers)]
        return Stack(
            name=name,
            blocks=f"{name}.layers",
            num_layers=f"{name}_layers",
            attention=attention,
            cross_attention=cross,
            feed_forward=FeedForward(inputs=("fc1",), output="fc2", width=f"{name}_ffn_dim"),
            norm_readers=dict(readers),
        )
