"""The key-value caches of all members, as `generate` carries one cache."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import DynamicCache


class MembersCache(DynamicCache):
    """One cache per member; what `generate` does to it is done to each.

    Attributes:
        of_members: in the members' order; None where a member has not been asked so far.
    """

    def __init__(self, of_members: Sequence[Any]) -> None:
        super().__init__()
        self.of_members = list(of_members)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that the first member has seen."""
        return int(self.of_members[0].get_seq_length(layer_idx))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beams change places."""
        for cache in self.of_members:
            cache.reorder_cache(beam_idx.to(_device(cache, beam_idx)))

    def crop(self, tokens_to_remove: int) -> None:
        """The last tokens are taken back."""
        for cache in self.of_members:
            cache.crop(tokens_to_remove)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row several times."""
        for cache in self.of_members:
            cache.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """These rows, in this order."""
        for cache in self.of_members:
            cache.batch_select_indices(indices.to(_device(cache, indices)))

    def reset(self) -> None:
        """Forget all tokens."""
        for cache in self.of_members:
            cache.reset()

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """Of the member that ends first; -1 where none does."""
        lengths = [cache.get_max_length(layer_idx) for cache in self.of_members]
        return min((length for length in lengths if length >= 0), default=-1)

    @property
    def is_compileable(self) -> bool:
        """Its members' caches grow."""
        return False


def _device(cache: Any, like: Tensor) -> Any:
    for layer in getattr(cache, "layers", ()):
        keys = getattr(layer, "keys", None)
        if isinstance(keys, Tensor):
            return keys.device
    return like.device
