"""T5."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Architecture, Attention, FeedForward, Stack


def _attention(module: str, position_bias: str | None = None) -> Attention:
    return Attention(
        query=f"{module}.q",
        key=f"{module}.k",
        value=f"{module}.v",
        output=f"{module}.o",
        heads="num_heads",
        head_size="d_kv",
        position_bias=position_bias,
    )


@dataclass(frozen=True, kw_only=True)
class T5(Architecture, name="t5"):
    """Encoder and decoder of equally many heads and units; a norm before each part; the feed-forward part may be gated."""

    hidden: ClassVar[tuple[str, ...]] = ("d_model",)

    def width_matters(self, config: Any) -> str:
        """With this key what the output embeddings read is divided by the root of the hidden size."""
        return "scale_decoder_outputs" if config.scale_decoder_outputs else ""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """The encoder, and the decoder with its cross-attention."""
        return (self._stack(config, "encoder", "num_layers"), self._stack(config, "decoder", "num_decoder_layers"))

    def _stack(self, config: Any, name: str, num_layers: str) -> Stack:
        place = 2 if name == "decoder" else 1
        inside = f"layer.{place}.DenseReluDense"
        inputs = (f"{inside}.wi_0", f"{inside}.wi_1") if config.is_gated_act else (f"{inside}.wi",)
        attention = _attention("layer.0.SelfAttention", "layer.0.SelfAttention.relative_attention_bias")
        cross = _attention("layer.1.EncDecAttention") if name == "decoder" else None
        readers = {
            "layer.0.layer_norm": (attention.query, attention.key, attention.value),
            f"layer.{place}.layer_norm": inputs,
        }
        return Stack(
            name=name,
            blocks=f"{name}.block",
            num_layers=num_layers,
            attention=attention,
            cross_attention=cross,
            feed_forward=FeedForward(inputs=inputs, output=f"{inside}.wo", width="d_ff"),
            norm_readers=readers if cross is None else {**readers, "layer.1.layer_norm": (cross.query,)},
        )
