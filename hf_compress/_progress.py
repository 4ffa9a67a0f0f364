"""One progress bar, shown by the main process alone."""

from typing import Any

from tqdm import tqdm

from hf_compress import _distributed


def progress(iterable: Any = None, description: str = "", **settings: Any) -> tqdm:
    """A bar around an iterable, or one that is moved by hand.

    Args:
        iterable: what is gone through; None = `update` moves the bar.
        description: stands before it; without one there is no bar.
        settings: tqdm's own: `total`, `unit`, `leave`.
    """
    hidden = not description or not _distributed.is_main()
    return tqdm(iterable, desc=description, disable=hidden, **settings)
