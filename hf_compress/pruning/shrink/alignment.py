"""The heads that a generation config names, by their places in the smaller model."""

import logging
from typing import Any

from hf_compress.pruning.shrink.pieces import Kept, KeptStack

logger = logging.getLogger(__name__)


def rename_alignment_heads(small: Any, kept: Kept) -> None:
    """Whisper's `alignment_heads`, pairs of a decoder layer and a head whose cross-attention tells when a word is said.

    Those that went are left out; where all went there are none, and transformers says so when it is asked for times.

    Args:
        small: its generation config is that of the model it was made of, and is changed.
        kept: what stays of that model, the decoder last.
    """
    config = getattr(small, "generation_config", None)
    named = getattr(config, "alignment_heads", None)
    if not named:
        return
    pairs = [_place(kept.stacks[-1], layer, head) for layer, head in named]
    config.alignment_heads = [pair for pair in pairs if pair is not None] or None  # type: ignore[union-attr]
    gone = pairs.count(None)
    if gone:
        logger.warning(
            "%d of the %d heads that the generation config names for times of words (alignment_heads) go%s",
            gone,
            len(pairs),
            "; the smaller model cannot tell times of words" if gone == len(pairs) else "",
        )


def _place(kept: KeptStack, layer: int, head: int) -> list[int] | None:
    """Where a head of the cross-attention is afterwards; None where it goes."""
    if layer not in kept.layers:
        return None
    new = kept.layers.index(layer)
    if kept.cross_groups is None:
        return [new, head]
    return [new, kept.cross_groups[new].index(head)] if head in kept.cross_groups[new] else None
