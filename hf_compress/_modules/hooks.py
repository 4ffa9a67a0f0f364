"""Hooks that stay no longer than what they watch."""

import contextlib
from collections.abc import Iterable, Iterator

from torch.utils.hooks import RemovableHandle


@contextlib.contextmanager
def removed_afterwards(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """The hooks are gone after the block, however it ends."""
    made = list(hooks)
    try:
        yield
    finally:
        for hook in made:
            hook.remove()
