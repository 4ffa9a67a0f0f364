"""What an architecture looks like: where its blocks are, what is in one, and what its config calls the counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.names import model_name
from hf_compress._registry import Strategy


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The self-attention of a block. Modules are named from the block on.

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
    """

    query: str
    key: str
    value: str
    output: str
    heads: str
    key_value_heads: str | None = None
    head_size: str | None = None


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """The feed-forward part of a block: output(f(inputs(x))), unit by unit. Modules are named from the block on.

    Attributes:
        inputs: modules with a row for each unit: one, or a gate and what it is multiplied with.
        output: the module with a column for each unit.
        width: the config's key for the number of units.
    """

    inputs: tuple[str, ...]
    output: str
    width: str


@dataclass(frozen=True, kw_only=True)
class Architecture(Strategy, kind="architecture", package="hf_compress.architectures"):
    """Where the parts of a model are, for a model type of transformers; the name is that type.

    Attributes:
        blocks: the list of blocks, named from the base model on (what stands behind the heads of tasks).
        num_layers: the config's key for the number of blocks.
        attention: the self-attention of a block.
        feed_forward: its feed-forward part.
        per_layer: keys of the config that hold a list with an item for each block, where they hold anything.
    """

    blocks: ClassVar[str]
    num_layers: ClassVar[str]
    attention: ClassVar[Attention]
    feed_forward: ClassVar[FeedForward]
    per_layer: ClassVar[tuple[str, ...]] = ()

    def norm_readers(self, config: Any) -> Mapping[str, tuple[str, ...]]:
        """Norm -> the modules of the same block that multiply what it gives, both named from the block on.

        A norm that only the next block reads has none and is left out.
        """
        raise TypeError(f"architecture {self.name!r} defines no norm_readers()")

    def place_matters(self, config: Any) -> str:
        """Why a block computes something else at another place; empty where it does not."""
        return ""

    def block_list(self, model: Any) -> tuple[str, nn.ModuleList]:
        """The list of blocks and its name in the whole model.

        Raises:
            CompressionError: the model's class keeps them elsewhere.
        """
        try:
            blocks = model.base_model.get_submodule(self.blocks)
        except AttributeError:
            raise CompressionError(
                f"{type(model).__name__} has no {self.blocks} where {self.name} keeps its blocks;"
                " docs/adding-an-architecture.md says how to describe another one"
            ) from None
        return next(name for name, module in model.named_modules() if module is blocks), blocks


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
