"""What an architecture looks like: where its blocks are, what is in one, and what its config calls the counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.names import model_name
from hf_compress._registry import Strategy


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The self-attention or the cross-attention of a block. Modules are named from the block on.

    Attributes:
        query: the module whose rows are the heads' queries, head by head.
        key: the same for keys; of the same name where one module holds all three, queries first, then keys, then values.
        value: the same for values.
        output: the module whose columns read the heads, in the same order.
        heads: the config's key for the number of query heads.
        key_value_heads: its key for the number of heads of keys and values, each read by a group of equally many
            neighbouring query heads; None where there is one for each query head.
        head_size: its key for the rows of one head; None where the config cannot say it, so that it is always
            hidden size / heads.
        by_head: one module holds all three, and its rows are the first head's queries, keys and values, then the second's.
        position_bias: an embedding in the first block with a column for each head, which is added to the scores of all
            blocks, so that all keep the same heads; None where there is none.
    """

    query: str
    key: str
    value: str
    output: str
    heads: str
    key_value_heads: str | None = None
    head_size: str | None = None
    by_head: bool = False
    position_bias: str | None = None


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """The feed-forward part of a block: output(f(inputs(x))), unit by unit. Modules are named from the block on.

    Attributes:
        inputs: modules with a row for each unit: one, or a gate and what it is multiplied with.
        output: the module with a column for each unit.
        width: the config's key for the number of units.
        experts: its key for the number of experts, each with as many units, where inputs and output are no modules but
            tensors with a matrix for each expert: one of inputs, (E, 2 units, H), the gate's rows before the others', and
            (E, H, units). None where there are no experts.
    """

    inputs: tuple[str, ...]
    output: str
    width: str
    experts: str | None = None


@dataclass(frozen=True, kw_only=True)
class Experts:
    """How tokens find the experts of a block. Modules are named from the block on.

    Attributes:
        router: the module whose tensors have a row for each expert; what it gives the tokens is handed to the experts.
        experts: the module whose tensors hold the experts one after the other along their first dimension, called with the
            tokens (T, H), the K experts of each (T, K) and their weights (T, K).
        per_token: the config's key for K.
    """

    router: str
    experts: str
    per_token: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Blocks that are alike, one after the other.

    Attributes:
        name: what a plan calls it, such as encoder; empty where the architecture has this one only.
        blocks: the list of blocks, named from the base model on (what stands behind the heads of tasks).
        num_layers: the config's key for the number of blocks.
        attention: the self-attention of a block.
        feed_forward: its feed-forward part.
        experts: how tokens find its experts; None where it has none.
        cross_attention: what reads the other stack, with as many heads as the self-attention; None where nothing does.
        norm_readers: norm -> the modules of the same block that multiply what it gives, both named from the block on. A
            norm that only the next block reads has none and is left out.
        per_layer: keys of the config that hold a list with an item for each block, where they hold anything.
    """

    name: str = ""
    blocks: str
    num_layers: str
    attention: Attention
    feed_forward: FeedForward
    experts: Experts | None = None
    cross_attention: Attention | None = None
    norm_readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    per_layer: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoundStack:
    """A stack in a model.

    Attributes:
        stack: its description.
        prefix: the name of the list of blocks in the whole model.
        blocks: the list.
    """

    stack: Stack
    prefix: str
    blocks: nn.ModuleList


@dataclass(frozen=True, kw_only=True)
class Architecture(Strategy, kind="architecture", package="hf_compress.architectures"):
    """Where the parts of a model are, for a model type of transformers; the name is that type.

    Attributes:
        config_part: the part of the config that has the counts, such as text_config; empty where the config itself has.
        hidden: the config's key for the width of the hidden states, which all stacks share, and keys that may hold the same
            number and then go with it.
    """

    config_part: ClassVar[str] = ""
    hidden: ClassVar[tuple[str, ...]] = ("hidden_size",)

    def stacks(self, config: Any) -> tuple[Stack, ...]:
        """The stacks that a model can have, in the order in which data passes them.

        Args:
            config: the part of it that has the counts.
        """
        raise TypeError(f"architecture {self.name!r} defines no stacks()")

    def place_matters(self, config: Any) -> str:
        """The key that makes a block compute something else at another place; empty where none does."""
        return ""

    def width_matters(self, config: Any) -> str:
        """The key that makes a forward pass compute with the width of the hidden states as a number; empty where none does.

        Numbers that modules keep for themselves (`embed_scale`) are found without it.
        """
        return ""

    def counts(self, config: Any) -> Any:
        """The part of a model's config that has the counts."""
        return getattr(config, self.config_part) if self.config_part else config

    def found(self, model: Any) -> tuple[FoundStack, ...]:
        """The stacks that a model has: a class may have the encoder or the decoder alone.

        Raises:
            CompressionError: the model's class keeps them elsewhere.
        """
        stacks = self.stacks(self.counts(model.config))
        names = {module: name for name, module in model.named_modules()}
        there = [
            FoundStack(stack=stack, prefix=names[blocks], blocks=blocks)
            for stack in stacks
            if isinstance(blocks := _submodule(model.base_model, stack.blocks), nn.ModuleList)
        ]
        if not there:
            raise CompressionError(
                f"{type(model).__name__} has no {' and no '.join(stack.blocks for stack in stacks)} where {self.name} keeps"
                " its blocks; docs/adding-an-architecture.md says how to describe another one"
            )
        return tuple(there)


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def architecture_of(model: Any) -> Architecture:
    """The row of a model's type.

    Raises:
        CompressionError: there is none.
    """
    known = Architecture.available()
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in known:
        raise CompressionError(
            f"where the parts of {model_name(model)} are is not known (known: {', '.join(known)});"
            " docs/adding-an-architecture.md says how to add it, one file and one test"
        )
    return known[kind]()
