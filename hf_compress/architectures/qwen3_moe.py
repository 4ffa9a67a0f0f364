"""Qwen3 with a mixture of experts."""

from dataclasses import dataclass, replace
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import FeedForward, Stack
from hf_compress.architectures.llama import Llama


@dataclass(frozen=True, kw_only=True)
class Qwen3Moe(Llama, name="qwen3_moe"):
    """Qwen3 with experts in every layer, whose weights are one tensor for all experts, and one kind of attention."""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One.

        Raises:
            CompressionError: some layers have no experts, so that the layers are not alike.
        """
        (stack,) = super().stacks(config)
        if config.mlp_only_layers or config.decoder_sparse_step != 1:
            raise CompressionError(
                f"{type(config).__name__} with mlp_only_layers={config.mlp_only_layers} and"
                f" decoder_sparse_step={config.decoder_sparse_step} has layers with experts and layers without;"
                f" {self.name} is known with experts in every layer only"
            )
        feed_forward = FeedForward(
            inputs=("mlp.experts.gate_up_proj",),
            output="mlp.experts.down_proj",
            width="moe_intermediate_size",
            experts="num_local_experts",
        )
        attention = stack.norm_readers["input_layernorm"]
        readers = {"input_layernorm": attention, self.before_feed_forward: ("mlp.gate", "mlp.experts")}
        return (replace(stack, feed_forward=feed_forward, norm_readers=readers),)
