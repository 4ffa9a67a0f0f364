"""The key-value caches of all members, as `generate` carries one cache."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_compress._errors import CompressionError

CACHE = next(one.name for one in dataclasses.fields(CausalLMOutputWithPast) if one.name in ("cache", "past_key_values"))
"""What transformers calls the cache of a forward: `past_key_values`, and `cache` since 5.24."""
Tokens = dict[str, Tensor]
"""Inputs that have something for each token, (B, T, ...) each."""


class MembersCache(DynamicCache):
    """One cache per member; what `generate` does to it is done to each.

    Attributes:
        of_members: in the members' order; None where a member has not been asked so far.
        waiting: tokens that the first member has read and the others have not, one mapping for each member.
    """

    def __init__(self, of_members: Sequence[Any], waiting: Sequence[Tokens] | None = None) -> None:
        super().__init__()
        self.of_members = list(of_members)
        self.waiting = [dict(one) for one in waiting] if waiting is not None else [{} for _ in self.of_members]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that the first member has seen."""
        return int(self.of_members[0].get_seq_length(layer_idx))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beams change places."""
        for cache in self.of_members:
            cache.reorder_cache(beam_idx.to(_device(cache, beam_idx)))
        self._change_waiting(lambda tokens: tokens.index_select(0, beam_idx.to(tokens.device)))

    def crop(self, tokens_to_remove: int) -> None:
        """The last tokens are taken back: first those that a member has not read.

        Args:
            tokens_to_remove: their number, negative.
        """
        for place, (cache, waiting) in enumerate(zip(self.of_members, self.waiting, strict=True)):
            unread = min(-tokens_to_remove, num_tokens(waiting))
            if unread:
                kept = num_tokens(waiting) - unread
                self.waiting[place] = {key: value[:, :kept] for key, value in waiting.items()} if kept else {}
            cache.crop(tokens_to_remove + unread)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row several times."""
        for cache in self.of_members:
            cache.batch_repeat_interleave(repeats)
        self._change_waiting(lambda tokens: tokens.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """These rows, in this order."""
        for cache in self.of_members:
            cache.batch_select_indices(indices.to(_device(cache, indices)))
        self._change_waiting(lambda tokens: tokens[indices.to(tokens.device)])

    def reset(self) -> None:
        """Forget all tokens."""
        for cache in self.of_members:
            cache.reset()
        self.waiting = [{} for _ in self.of_members]

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """Of the member that ends first; -1 where none does."""
        lengths = [cache.get_max_length(layer_idx) for cache in self.of_members]
        return min((length for length in lengths if length >= 0), default=-1)

    @property
    def is_compileable(self) -> bool:
        """Its members' caches grow."""
        return False

    def _change_waiting(self, change: Any) -> None:
        self.waiting = [{key: change(value) for key, value in one.items()} for one in self.waiting]


def tokens_of(inputs: dict[str, Any]) -> Tokens:
    """What of a member's inputs belongs to single tokens; not the mask, which is of all tokens so far.

    Args:
        inputs: with input_ids, (B, T), or inputs_embeds, (B, T, H).
    """
    rows, length = inputs["input_ids" if "input_ids" in inputs else "inputs_embeds"].shape[:2]
    return {
        key: value.expand(rows, *value.shape[1:]) if len(value) == 1 else value
        for key, value in inputs.items()
        if key != "attention_mask" and isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == length
    }


def num_tokens(tokens: Tokens) -> int:
    """T."""
    return next((value.shape[1] for value in tokens.values()), 0)


def behind(waiting: Tokens, tokens: Tokens) -> Tokens:
    """Tokens that wait, and new ones behind them.

    Raises:
        CompressionError: the new ones came with other inputs.
    """
    if waiting and waiting.keys() != tokens.keys():
        raise CompressionError(
            f"a member has not read tokens that came with {', '.join(sorted(waiting))}, and now come some with"
            f" {', '.join(sorted(tokens))}; give the same inputs at every step"
        )
    return {key: torch.cat([waiting[key], value], dim=1) for key, value in tokens.items()} if waiting else tokens


def _device(cache: Any, like: Tensor) -> Any:
    for layer in getattr(getattr(cache, "self_attention_cache", cache), "layers", ()):
        keys = getattr(layer, "keys", None)
        if isinstance(keys, Tensor):
            return keys.device
    return like.device
