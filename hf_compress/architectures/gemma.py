"""Gemma 2 and Gemma 3."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hf_compress.architectures.architecture import Stack
from hf_compress.architectures.llama import Llama


@dataclass(frozen=True, kw_only=True)
class Gemma2(Llama, name="gemma2"):
    """Llama with a norm before and behind each part; each layer has a kind of attention of its own.

    What a norm behind a part gives is added to the hidden states, and no module reads it alone.
    """

    before_feed_forward: ClassVar[str] = "pre_feedforward_layernorm"
    per_layer: ClassVar[tuple[str, ...]] = ("layer_types",)


@dataclass(frozen=True, kw_only=True)
class Gemma3Text(Gemma2, name="gemma3_text"):
    """Gemma 2 with a norm within each head of queries and keys."""


@dataclass(frozen=True, kw_only=True)
class Gemma3(Gemma3Text, name="gemma3"):
    """The text model of a Gemma 3 that sees; what it sees with stays as it is."""

    config_part: ClassVar[str] = "text_config"

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """One."""
        (stack,) = super().stacks(config)
        return (replace(stack, blocks=f"language_model.{stack.blocks}"),)
