"""Qwen3 with a mixture of experts, and Mixtral."""

from dataclasses import dataclass, replace
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import Experts, FeedForward, Stack
from hf_compress.architectures.llama import Llama


@dataclass(frozen=True, kw_only=True)
class Qwen3Moe(Llama, name="qwen3_moe"):
    """Qwen3 with experts in every layer, whose weights are one tensor for all experts, and one kind of attention."""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One.

        Raises:
            CompressionError: some layers have no experts, so that the layers are not alike.
        """
        if config.mlp_only_layers or config.decoder_sparse_step != 1:
            raise CompressionError(
                f"{type(config).__name__} with mlp_only_layers={config.mlp_only_layers} and"
                f" decoder_sparse_step={config.decoder_sparse_step} has layers with experts and layers without;"
                f" {self.name} is known with experts in every layer only"
            )
        return _mixed(super().stacks(config), "moe_intermediate_size")


@dataclass(frozen=True, kw_only=True)
class Mixtral(Llama, name="mixtral"):
    """Mistral with experts in every layer, whose weights are one tensor for all experts."""

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        return _mixed(super().stacks(config), "intermediate_size")


def _mixed(stacks: tuple[Stack, ...], width: str) -> tuple[Stack, ...]:
    """Llama's stack with experts in the place of the feed-forward part; the config counts their units as `width`."""
    (stack,) = stacks
    feed_forward = FeedForward(
        inputs=("mlp.experts.gate_up_proj",), output="mlp.experts.down_proj", width=width, experts="num_local_experts"
    )
    experts = Experts(router="mlp.gate", experts="mlp.experts", per_token="num_experts_per_tok")
    readers = {**stack.norm_readers, Llama.before_feed_forward: ("mlp.gate", "mlp.experts")}
    return (replace(stack, feed_forward=feed_forward, experts=experts, norm_readers=readers),)
