"""Texts that are longer than a model reads or writes: cut, and counted."""

from collections.abc import Sequence
from typing import Any

from hf_compress.tasks.task import Splits


def encode_cut(tokenizer: Any, length: int, **texts: Sequence[str]) -> tuple[Any, list[bool]]:
    """Texts as a tokenizer encodes them, cut to `length` tokens, and which of them are cut.

    Args:
        tokenizer: puts its special tokens around them.
        length: tokens at most.
        **texts: one or more, by the tokenizer's arguments: `text`, `text` and `text_pair`, or `text_target`.
    """
    encoded = tokenizer(**texts, truncation=True, max_length=length)
    cut = [len(ids) == length for ids in encoded["input_ids"]]
    full = [place for place, one in enumerate(cut) if one]
    if full:
        whole = tokenizer(**{key: [given[place] for place in full] for key, given in texts.items()}, verbose=False)
        for place, ids in zip(full, whole["input_ids"], strict=True):
            cut[place] = len(ids) > length
    return encoded, cut


def how_many(column: str, examples: Splits) -> str:
    """In which splits a column of true and false is true, in words."""
    counts = {name: (sum(split.with_format(None)[column]), len(split)) for name, split in examples.items()}
    return listed(counts, "rows")


def listed(counts: dict[str, tuple[int, int]], what: str) -> str:
    """How many of how many in words, for the splits that have any: "1 of 8 train rows, ...", or "none".

    Args:
        counts: by split, how many and of how many.
        what: they are.
    """
    found = [f"{count:,} of {whole:,} {name} {what}" for name, (count, whole) in counts.items() if count]
    return ", ".join(found) or "none"
