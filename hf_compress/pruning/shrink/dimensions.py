"""The counts of a model that shrinking changes."""

from dataclasses import dataclass
from typing import Any

from hf_compress._modules.matrix import matrix_shape
from hf_compress.architectures.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """What a model has of each part.

    Attributes:
        model_class: its class's name.
        layers: blocks.
        heads: query heads of a layer.
        groups: heads of keys and values of a layer.
        head_size: rows of one head.
        units: of a layer's feed-forward part.
    """

    model_class: str
    layers: int
    heads: int
    groups: int
    head_size: int
    units: int

    @property
    def per_group(self) -> int:
        """Query heads that share a head of keys and values."""
        return self.heads // self.groups

    @property
    def counts(self) -> str:
        """In words."""
        shared = f" in {self.groups} groups" if self.groups < self.heads else ""
        return f"{self.layers} layers, {self.heads} heads{shared}, {self.units} feed-forward units"

    def __str__(self) -> str:
        return f"{self.model_class} with {self.counts}"


def dimensions_of(model: Any, architecture: Architecture) -> Dimensions:
    """Read from the config and the modules of the first block; that all blocks are alike is what a stock config means.

    Raises:
        CompressionError: the model's class keeps its blocks elsewhere.
    """
    _, blocks = architecture.block_list(model)
    attention = architecture.attention
    heads = getattr(model.config, attention.heads)
    groups = getattr(model.config, attention.key_value_heads) if attention.key_value_heads else heads
    return Dimensions(
        model_class=type(model).__name__,
        layers=len(blocks),
        heads=heads,
        groups=groups,
        head_size=matrix_shape(blocks[0].get_submodule(attention.output))[1] // heads,
        units=matrix_shape(blocks[0].get_submodule(architecture.feed_forward.output))[1],
    )
