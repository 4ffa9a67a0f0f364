"""The counts of a model that shrinking changes."""

from dataclasses import dataclass
from typing import Any

from hf_compress._modules.matrix import matrix_shape
from hf_compress.architectures.architecture import Architecture, FoundStack

EXPERTS_STEP = 8
"""Units and channels of experts stay in multiples of this. Transformers multiplies the tensors of all experts by torch's
`grouped_mm`, which takes rows of whole 16 bytes alone: 8 numbers of 16 bits, in which any model may be stored one day."""


@dataclass(frozen=True, kw_only=True)
class StackDimensions:
    """What a stack of blocks has of each part.

    Attributes:
        name: what a plan calls it; empty where the architecture has one only.
        layers: blocks.
        heads: query heads of a layer, of its self-attention and of its cross-attention.
        groups: heads of keys and values of a layer.
        head_size: rows of one head.
        units: of a layer's feed-forward part, of each expert where it has such.
        experts: of a layer; 0 where it has none.
    """

    name: str
    layers: int
    heads: int
    groups: int
    head_size: int
    units: int
    experts: int = 0

    @property
    def per_group(self) -> int:
        """Query heads that share a head of keys and values."""
        return self.heads // self.groups

    @property
    def units_step(self) -> int:
        """Fewer units than all are a multiple of this."""
        return EXPERTS_STEP if self.experts else 1

    @property
    def of(self) -> str:
        """What stands before a part of it in a sentence."""
        return f"{self.name} " if self.name else ""

    def __str__(self) -> str:
        shared = f" in {self.groups} groups" if self.groups < self.heads else ""
        experts = f" in each of {self.experts} experts" if self.experts else ""
        return f"{self.layers} {self.of}layers, {self.heads} heads{shared}, {self.units} feed-forward units{experts}"


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """What a model has of each part.

    Attributes:
        model_class: its class's name.
        stacks: of each stack, in the architecture's order.
        hidden: channels of the hidden states.
    """

    model_class: str
    stacks: tuple[StackDimensions, ...]
    hidden: int

    @property
    def layers(self) -> int:
        """Of all stacks together."""
        return sum(stack.layers for stack in self.stacks)

    @property
    def hidden_step(self) -> int:
        """Fewer channels than all are a multiple of this."""
        return max(stack.units_step for stack in self.stacks)

    @property
    def counts(self) -> str:
        """In words."""
        return " and ".join(map(str, self.stacks))

    def counts_after(self, whole: "Dimensions") -> str:
        """In words, with the width of the hidden states where it was another one before."""
        return self.counts if self.hidden == whole.hidden else f"{self.counts}, {self.hidden} channels of hidden states"

    def __str__(self) -> str:
        return f"{self.model_class} with {self.counts}"


def dimensions_of(model: Any, architecture: Architecture) -> Dimensions:
    """Read from the config and the modules of the first blocks; that blocks are alike is what a stock config means.

    Raises:
        CompressionError: the model's class keeps its blocks elsewhere.
    """
    counts = architecture.counts(model.config)
    stacks = tuple(_of_stack(counts, found) for found in architecture.found(model))
    return Dimensions(model_class=type(model).__name__, stacks=stacks, hidden=getattr(counts, architecture.hidden[0]))


def _of_stack(counts: Any, found: FoundStack) -> StackDimensions:
    attention, feed_forward, blocks = found.stack.attention, found.stack.feed_forward, found.blocks
    heads = getattr(counts, attention.heads)
    groups = getattr(counts, attention.key_value_heads) if attention.key_value_heads else heads
    return StackDimensions(
        name=found.stack.name,
        layers=len(blocks),
        heads=heads,
        groups=groups,
        head_size=matrix_shape(blocks[0].get_submodule(attention.output))[1] // heads,
        units=(
            blocks[0].get_parameter(feed_forward.output).shape[2]
            if feed_forward.experts
            else matrix_shape(blocks[0].get_submodule(feed_forward.output))[1]
        ),
        experts=getattr(counts, feed_forward.experts) if feed_forward.experts else 0,
    )
