"""A model and its tokenizer without the pieces that a corpus does not use."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.pruning.shrink.choose import check_model
from hf_compress.pruning.shrink.vocabulary_choice import (
    VocabularyChoice,
    check_rewritable,
    choose_vocabulary,
    configs_of,
    without_rows,
)

_AT_ONCE = 1000
"""Texts that are encoded together."""


@dataclass(frozen=True, kw_only=True)
class SmallerVocabulary:
    """What `shrink_vocabulary` made.

    Attributes:
        model: with a row for each piece that stays.
        tokenizer: that knows these pieces.
        kept: their ids before, ascending; the place of one is its id afterwards.
        rows_before: of the embeddings.
        bytes_before: of all parameters, a tied one once.
        bytes_after: the same of the smaller model.
    """

    model: Any
    tokenizer: Any
    kept: tuple[int, ...]
    rows_before: int
    bytes_before: int
    bytes_after: int

    def describe(self) -> str:
        """How many pieces stay and what that saves, in one line."""
        share = self.bytes_after / self.bytes_before - 1
        return (
            f"{len(self.kept):,} of {self.rows_before:,} rows of the vocabulary stay; bytes:"
            f" {self.bytes_before:,} -> {self.bytes_after:,} ({share:+.1%})"
        )


def shrink_vocabulary(model: Any, tokenizer: Any, texts: Iterable[str], *, keep: Sequence[str] = ()) -> SmallerVocabulary:
    """Take the rows of a vocabulary out that a corpus does not use, and rewrite the tokenizer and all ids.

    What stays: pieces that the texts are made of; all bytes, or all characters where the tokenizer does not fall back on
    bytes; special and other added tokens; what config and generation config name; `keep`; and of BPE what is merged on
    the way to these; and all up to the padding's id where positions are counted from it. So every text can still be written
    whose characters are pieces, one that is not like the corpus with more tokens. On a text of the corpus the model sees
    the same pieces, and gives the same logits for every piece that stays, which a pass over a few of them shows.

    Args:
        model: a transformers model of any type, whole and with dense weights; stays as it is.
        tokenizer: its own, a fast one (BPE, Unigram, WordPiece, WordLevel); stays as it is.
        texts: all that the model shall read and write as it does now; for chats, what the template makes of them.
        keep: pieces to keep beside those, as the tokenizer spells them.

    Returns:
        The smaller model and its tokenizer, whose ids ascend as before without gaps.

    Raises:
        CompressionError: there are no texts; the tokenizer is slow, of another kind, or not this model's; a piece in
            `keep` is unknown; a text comes out as other pieces, or the model's class builds other tensors.
    """
    check_model(model)
    if isinstance(texts, str):
        raise CompressionError("texts is one string; give an iterable of texts, such as [text]")
    corpus = list(texts)
    if not corpus or not all(isinstance(text, str) for text in corpus):
        raise CompressionError("texts holds none, or what is no text; give an iterable of strings")
    check_rewritable(tokenizer, model, keep)
    used = {index for ids in _encoded(tokenizer, corpus, "reading texts") for index in ids}
    choice = choose_vocabulary(tokenizer, model, configs_of(model), used, keep)
    _check_same(tokenizer, choice, corpus)
    small = without_rows(model, choice)
    return SmallerVocabulary(
        model=small,
        tokenizer=choice.tokenizer,
        kept=choice.kept,
        rows_before=choice.rows_before,
        bytes_before=_bytes(model),
        bytes_after=_bytes(small),
    )


def _encoded(tokenizer: Any, texts: Sequence[str], description: str = "") -> Iterator[list[int]]:
    starts = range(0, len(texts), _AT_ONCE)
    for start in progress(starts, description, leave=False):
        encoded = tokenizer(list(texts[start : start + _AT_ONCE]), verbose=False)
        yield from encoded["input_ids"]


def _check_same(tokenizer: Any, choice: VocabularyChoice, texts: Sequence[str]) -> None:
    smaller, moved = choice.tokenizer, choice.moved
    pairs = zip(_encoded(tokenizer, texts, "comparing"), _encoded(smaller, texts), strict=True)
    for place, (before, after) in enumerate(pairs):
        if [moved[index] for index in before] != after:
            raise CompressionError(
                f"text {place} of the corpus would be other pieces ({smaller.convert_ids_to_tokens(after)[:8]}...) to a"
                " tokenizer without the unused ones, so this tokenizer is not one whose pieces can go"
            )


def _bytes(model: Any) -> int:
    return sum(parameter.numel() * parameter.itemsize for parameter in model.parameters())
