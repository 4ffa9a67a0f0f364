"""A model and its tokenizer without the pieces that a corpus does not use."""

import copy
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import build
from hf_compress._sharding.contract import original_class
from hf_compress.checkpoints.token_ids import move_token_ids
from hf_compress.pruning.shrink.along import cut_along
from hf_compress.pruning.shrink.choose import check_model
from hf_compress.pruning.shrink.piece import Piece
from hf_compress.pruning.shrink.pieces import check_stock
from hf_compress.pruning.shrink.smaller_model import filled
from hf_compress.pruning.shrink.tokenizer_pieces import always_kept, check_kind, closed, ids_of_pieces, rewritten

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
    the way to these. So every text can still be written, one that is not like the corpus with more tokens. On a text of
    the corpus the model sees the same pieces, and gives the same logits for every piece that stays.

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
    rows = model.get_input_embeddings().weight.shape[0]
    data = _description(tokenizer, rows)
    corpus = list(texts)
    if not corpus or not all(isinstance(text, str) for text in corpus):
        raise CompressionError("texts holds none, or what is no text; give an iterable of strings")
    used = {index for ids in _encoded(tokenizer, corpus) for index in ids}
    wanted = used | always_kept(data) | _asked_for(keep, data) | set(_ids_in_configs(model, tokenizer))
    kept_ids, merges = closed(data, wanted)
    kept = tuple(sorted(index for index in kept_ids if 0 <= index < rows))
    moved: dict[int, int | None] = {**dict.fromkeys(range(rows)), **{old: new for new, old in enumerate(kept)}}
    smaller_tokenizer = _loaded(tokenizer, rewritten(data, moved, merges))
    _check_same(tokenizer, smaller_tokenizer, corpus, moved)
    small = _smaller(model, moved, kept, rows, smaller_tokenizer)
    return SmallerVocabulary(
        model=small,
        tokenizer=smaller_tokenizer,
        kept=kept,
        rows_before=rows,
        bytes_before=_bytes(model),
        bytes_after=_bytes(small),
    )


def _description(tokenizer: Any, rows: int) -> dict[str, Any]:
    """tokenizer.json."""
    if not getattr(tokenizer, "is_fast", False):
        raise CompressionError(
            f"{type(tokenizer).__name__} is no fast tokenizer, and only one with a tokenizer.json can be rewritten; load it"
            " with AutoTokenizer"
        )
    data: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    check_kind(data)
    last = max(ids_of_pieces(data).values())
    if last >= rows:
        raise CompressionError(
            f"the tokenizer has a piece of id {last}, and the model {rows} rows of embeddings; give the model's own"
        )
    return data


def _asked_for(keep: Sequence[str], data: dict[str, Any]) -> set[int]:
    pieces = ids_of_pieces(data)
    unknown = [piece for piece in keep if piece not in pieces]
    if isinstance(keep, str) or unknown:
        raise CompressionError(f"keep={keep!r}: the tokenizer has no such piece; give pieces as it spells them, in a list")
    return {pieces[piece] for piece in keep}


def _encoded(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), _AT_ONCE):
        encoded = tokenizer(list(texts[start : start + _AT_ONCE]), verbose=False)
        yield from encoded["input_ids"]


def _configs(model: Any) -> Iterator[tuple[str, Any]]:
    yield "config", model.config
    if getattr(model, "generation_config", None) is not None:
        yield "generation_config", model.generation_config


class _Asked(dict[int, int | None]):
    """Notes which ids are looked up."""

    def get(self, key: Any, default: Any = None) -> Any:
        if isinstance(key, int):
            self[key] = key
        return default


def _ids_in_configs(model: Any, tokenizer: Any) -> Iterator[int]:
    asked = _Asked()
    for place, config in _configs(model):
        move_token_ids(_plain(config), asked, tokenizer, place)
    return iter(asked)


def _loaded(tokenizer: Any, data: dict[str, Any]) -> Any:
    """The tokenizer with another tokenizer.json, as everybody will load it."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    loaded.name_or_path = tokenizer.name_or_path
    return loaded


def _check_same(tokenizer: Any, smaller: Any, texts: Sequence[str], moved: dict[int, int | None]) -> None:
    pairs = zip(_encoded(tokenizer, texts), _encoded(smaller, texts), strict=True)
    for place, (before, after) in enumerate(pairs):
        if [moved[index] for index in before] != after:
            raise CompressionError(
                f"text {place} of the corpus would be other pieces ({smaller.convert_ids_to_tokens(after)[:8]}...) to a"
                " tokenizer without the unused ones, so this tokenizer is not one whose pieces can go"
            )


def _smaller(model: Any, moved: dict[int, int | None], kept: tuple[int, ...], rows: int, tokenizer: Any) -> Any:
    config = copy.deepcopy(model.config)
    _set_ids(config, moved, tokenizer, "config")
    config.get_text_config().vocab_size = len(kept)
    built = build(original_class(model), config, None, "meta")
    if built is None:
        raise CompressionError(f"{type(model).__name__} cannot be built from its config alone; shrink the model inside it")
    names = dict.fromkeys([*model.state_dict(), *(name for name, _ in model.named_buffers())])
    pieces = cut_along(model, {name: Piece(source=name) for name in names}, built, rows, kept)
    check_stock(built, model, pieces)
    small = filled(built, model, pieces)
    if getattr(small, "generation_config", None) is not None:
        generation = small.generation_config
        _set_ids(generation, moved, tokenizer, "generation_config")
    return small


def _plain(config: Any) -> dict[str, Any]:
    """As it would lie on disk, with what is as in every config."""
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return plain


def _set_ids(config: Any, moved: dict[int, int | None], tokenizer: Any, place: str) -> None:
    """Put the new ids into a config, nested ones included."""
    plain = _plain(config)
    for key, value in move_token_ids(plain, moved, tokenizer, place).items():
        own = getattr(config, key, None)
        if isinstance(value, dict) and hasattr(own, "to_dict"):
            _set_ids(own, moved, tokenizer, f"{place}.{key}")
        elif value != plain[key]:
            setattr(config, key, value)


def _bytes(model: Any) -> int:
    return sum(parameter.numel() * parameter.itemsize for parameter in model.parameters())
