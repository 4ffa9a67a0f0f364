"""What members with tokenizers of their own have read of a batch, and their caches."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.cache import CACHE
from hf_compress.ensembling.modelling.generating import new_cache_of
from hf_compress.ensembling.modelling.inputs import readable

NO_TOKEN = -1
"""In place of a union's token where a row is padding."""


class Reading:
    """What one member has read of every row, and the cache of it.

    A row that is tokenized anew from some token on keeps what is before. What it no longer says stays in the cache and is
    masked, as padding is, because rows have different lengths. Members whose layers do not keep all tokens apart (windows,
    states) have no cache: they read everything anew.

    Attributes:
        rows: ids by row, of what counts.
        mask: (B, S) of the cache's places, 1 where they count.
    """

    def __init__(self, member: Any, name: str) -> None:
        self.member, self.name = member, name
        plain = all(type(layer) is DynamicLayer for layer in new_cache_of(member).layers)
        self._cached = plain and not getattr(member, "_is_stateful", False)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.rows: list[list[int]] = []
        self._places: list[list[int]] = []
        self.mask: Tensor | None = None
        self.cache: Any = None

    def ask(self, rows: Sequence[list[int]]) -> Tensor:
        """Logits (B, V) behind texts, on the member's device; what it has read already is not read again.

        Args:
            rows: its ids of every row, at least one each.

        Raises:
            CompressionError: a text is longer than it can read.
        """
        refuse_long(self.member, self.name, max(map(len, rows)))
        # A cache twice as long as its texts is made anew.
        if not self._cached or (self.mask is not None and self.mask.shape[1] > 2 * max(map(len, rows))):
            self.reset()
        if not self.rows:
            self.rows, self._places = [[] for _ in rows], [[] for _ in rows]
        # At least the last token is read: an answer comes of reading.
        kept = [min(_common(old, new), len(new) - 1) for old, new in zip(self.rows, rows, strict=True)]
        news = [row[count:] for row, count in zip(rows, kept, strict=True)]
        length, seen = max(map(len, news)), 0 if self.mask is None else self.mask.shape[1]
        device = self.member.device
        ids = torch.tensor([[0] * (length - len(new)) + new for new in news], device=device)
        fresh = torch.tensor([[0] * (length - len(new)) + [1] * len(new) for new in news], device=device)
        old = torch.zeros(len(news), seen, dtype=fresh.dtype, device=device)
        for row, count in enumerate(kept):
            old[row, self._places[row][:count]] = 1
            self._places[row] = self._places[row][:count] + list(range(seen + length - len(news[row]), seen + length))
        self.rows, self.mask = [list(row) for row in rows], torch.cat([old, fresh], dim=1)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -length:]
        inputs = {"input_ids": ids, "attention_mask": self.mask, "position_ids": positions, "logits_to_keep": 1}
        if self._cached and self.cache is None:
            self.cache = new_cache_of(self.member)
        output = self.member(**readable(self.member, inputs), **{CACHE: self.cache}, use_cache=bool(self._cached))
        self.cache = output.get(CACHE) if self._cached else None
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def select(self, rows: Tensor) -> None:
        """These rows of the batch, in this order, with repetitions."""
        if not self.rows:
            return
        order = rows.tolist()
        self.rows = [list(self.rows[row]) for row in order]
        self._places = [list(self._places[row]) for row in order]
        if self.mask is not None:
            self.mask = self.mask[rows.to(self.mask.device)]
        if self.cache is not None:
            self.cache.reorder_cache(rows.to(self.member.device))


class UnionCache(DynamicCache):
    """What all members have read; what `generate` does to it is done to each.

    Attributes:
        readings: of the members.
        tokens: (B, T) of the union, `NO_TOKEN` where a row is padding; None at the beginning.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        super().__init__()
        self.readings = list(readings)
        self.tokens: Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the union that were read."""
        return 0 if self.tokens is None else int(self.tokens.shape[1])

    def crop(self, tokens_to_remove: int) -> None:
        """The last tokens are taken back: members see it when they are asked next.

        Args:
            tokens_to_remove: their number, negative.
        """
        if tokens_to_remove and self.tokens is not None:
            self.tokens = self.tokens[:, :tokens_to_remove]

    def batch_select_indices(self, indices: Tensor) -> None:
        """These rows, in this order."""
        if self.tokens is not None:
            self.tokens = self.tokens[indices.to(self.tokens.device)]
        for reading in self.readings:
            reading.select(indices)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beams change places."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row several times."""
        if self.tokens is not None:
            self.batch_select_indices(torch.arange(len(self.tokens)).repeat_interleave(repeats))

    def reset(self) -> None:
        """Forget all tokens."""
        self.tokens = None
        for reading in self.readings:
            reading.reset()

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """None of the caches ends."""
        return -1

    @property
    def is_compileable(self) -> bool:
        """Caches grow."""
        return False


def refuse_long(member: Any, name: str, length: int) -> None:
    """Refuse a text that a member has no places for.

    Raises:
        CompressionError: naming it and its length.
    """
    most = getattr(member.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and length > most:
        raise CompressionError(
            f"member {name!r} reads {length} tokens of a text, and has places for {most}; give less text"
        )


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids, from the first, are the same."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
