"""Qwen3-MoE and Mixtral: Llama with a mixture of experts."""

from dataclasses import dataclass
from typing import Any

from hf_compress.architectures.architecture import Architecture, Experts, Stack
from hf_compress.architectures.llama import ATTENTION


@dataclass(frozen=True, kw_only=True)
class Qwen3Moe(Architecture, name="qwen3_moe"):
    """Llama with a norm within each head of queries and keys, and experts in the place of the feed-forward part.

    The norm before them is left out of the norms' readers: router and experts read it token by token. The number of experts
    stands in the config as `num_local_experts`, whatever it was called when it was written.
    """

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        experts = Experts(
            router="mlp.gate", experts="mlp.experts", count="num_local_experts", per_token="num_experts_per_tok"
        )
        return (
            Stack(
                blocks="layers",
                num_layers="num_hidden_layers",
                attention=ATTENTION,
                experts=experts,
                norm_readers={"input_layernorm": (ATTENTION.query, ATTENTION.key, ATTENTION.value)},
            ),
        )

    def place_matters(self, config: Any) -> str:
        """With these keys some layers have a feed-forward part in the place of experts, by their place."""
        if getattr(config, "mlp_only_layers", None):
            return "mlp_only_layers"
        return "decoder_sparse_step" if getattr(config, "decoder_sparse_step", 1) > 1 else ""


@dataclass(frozen=True, kw_only=True)
class Mixtral(Qwen3Moe, name="mixtral"):
    """Mistral with experts."""
