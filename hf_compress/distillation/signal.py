"""What a model says about a batch, as losses compare it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, overload

from torch import Tensor

Kind = Literal["shifted_tokens", "tokens", "single_label", "multi_label", "regression", "spans", "frames"]
"""What one row of logits is: a distribution over the next token, over the token here, or over classes; independent labels;
numbers; distributions over the positions in a text, or over the characters in a frame of sound. What each means is in
`hf_compress.tasks.rows`."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Classes = Literal["tokens", "labels", "positions"]
"""What a head chooses among: its vocabulary, its labels, or the positions of the example."""

Need = Literal["logits", "hidden_states", "attentions"]
"""What a loss may ask of both models."""

NEEDS: tuple[Need, ...] = get_args(Need)


class Layers(Sequence[Tensor]):
    """One tensor per layer. In 16 bits it is brought to fp32 when it is taken, so only layers that are used cost memory."""

    def __init__(self, tensors: Sequence[Tensor] = ()) -> None:
        self._tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def size(self) -> tuple[int, int] | None:
        """B and T; None where there is no layer."""
        return (self._tensors[0].shape[0], self._tensors[0].shape[-2]) if self._tensors else None

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> "Layers": ...

    def __getitem__(self, index: int | slice) -> "Tensor | Layers":
        if isinstance(index, slice):
            return Layers(self._tensors[index])
        tensor = self._tensors[index]
        return tensor if tensor.dtype.itemsize >= 4 else tensor.float()

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))


NO_LAYERS = Layers()


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A model's answer to a batch; a teacher's is without gradient. It holds what the losses need, and nothing else.

    Attributes:
        logits: (..., V); of answers in a text (B, 2, T); of a teacher with the leading dimensions of the student's.
        hidden_states: one (B, T, D) per layer, the embeddings first, as transformers numbers them.
        attentions: one (B, heads, T, T) per layer, each row a distribution over the keys.
        common: V where the student has more classes and only its first V mean the same; None = all are compared.
    """

    logits: Tensor | None = None
    hidden_states: Layers = NO_LAYERS
    attentions: Layers = NO_LAYERS
    common: int | None = None

    @property
    def has(self) -> tuple[Need, ...]:
        """What is there."""
        there = (self.logits is not None, len(self.hidden_states) > 0, len(self.attentions) > 0)
        return tuple(need for need, known in zip(NEEDS, there, strict=True) if known)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a teacher's logits, as losses on rows see them.

    Attributes:
        logits: (N, V) fp32, without gradient.
        kind: what a row is; a loss that depends on it asks here.
    """

    logits: Tensor
    kind: Kind = "tokens"
