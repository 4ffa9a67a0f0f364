"""Tokenizers: loading those of the members, and the union of several."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.checkpoints.companion_names import has_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def tokenizer_in(folder: Path) -> "PreTrainedTokenizerBase | None":
    """The tokenizer in the folder, or None where there is none.

    Raises:
        CompressionError: its files cannot be read.
    """
    from transformers import AutoTokenizer

    if not has_vocabulary(folder):
        return None
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # damaged files surface as KeyError, OSError, ValueError or the Rust library's own
        reason = reason_of(error)
        raise CompressionError(f"the tokenizer in {folder} cannot be loaded: {reason}") from error


def kind(tokenizer: "PreTrainedTokenizerBase") -> str:
    """What must be equal for tokens of two tokenizers to mean the same text: the model, and byte-level or not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer).__name__
    byte_level = "ByteLevel" in repr(backend.decoder) or "ByteLevel" in repr(backend.pre_tokenizer)
    return type(backend.model).__name__ + (" (byte-level)" if byte_level else "")


def union(tokenizers: Mapping[str, "PreTrainedTokenizerBase"]) -> "PreTrainedTokenizerBase":
    """A tokenizer that has the tokens of all.

    The first keeps its ids, rules and special tokens. Pieces that only others have are appended to its vocabulary, and for
    BPE their merge rules behind its own: so the first one's merges go first, and text it already split well is only ever
    joined further. (Appending pieces as added tokens would cut every word that contains one of them.) Added tokens of the
    others come last, with their settings.

    BPE merges have one order, and two trained orders cannot both be kept: another member's text is not always split as its
    own tokenizer did.

    Args:
        tokenizers: by label, the first is the one that is extended.

    Returns:
        A new tokenizer.

    Raises:
        CompressionError: they are of different kinds, or an id of the first would change.
    """
    (first_label, first), *others = tokenizers.items()
    for label, tokenizer in others:
        if kind(tokenizer) != kind(first):
            raise CompressionError(
                f"the tokenizer of {label} is a {kind(tokenizer)}, that of {first_label} a {kind(first)}, and their pieces"
                f" do not mean the same text; take one of them instead: tokenizer: {{source: {first_label}}}"
            )
    for label, tokenizer in others:
        if _normalizer(tokenizer) != _normalizer(first):
            logger.warning(
                "the tokenizer of %s normalizes text otherwise than that of %s, which the result follows: some of its"
                " tokens may never come up",
                *(label, first_label),
            )
    extended = _extend_model(first, [tokenizer for _, tokenizer in others])
    for _, tokenizer in others:
        known = extended.get_vocab()
        for _, token in sorted(tokenizer.added_tokens_decoder.items()):
            if token.content not in known:
                extended.add_tokens([token], special_tokens=token.special)
    before, after = first.get_vocab(), extended.get_vocab()
    moved = [token for token, index in before.items() if after.get(token) != index]
    if moved or len(set(after.values())) != len(after):
        raise CompressionError(
            f"the tokenizer of {first_label} ({type(first).__name__}) cannot be extended without changing ids"
            f" (e.g. {moved[0] if moved else 'two tokens with one id'!r}); take one tokenizer as it is:"
            f" tokenizer: {{source: {first_label}}}"
        )
    return extended


def _normalizer(tokenizer: "PreTrainedTokenizerBase") -> Any:
    """What is done to text before it is split, as plain data; None where nothing is, or it is not known."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return None if backend is None else json.loads(backend.to_str())["normalizer"]


def with_tokens(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[str]) -> "PreTrainedTokenizerBase":
    """The tokenizer, or where it lacks some of the tokens a copy to which they are added."""
    known = tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    if new:
        tokenizer = _reload(tokenizer, None)
        tokenizer.add_tokens(new)
    return tokenizer


def _extend_model(first: "PreTrainedTokenizerBase", others: list["PreTrainedTokenizerBase"]) -> "PreTrainedTokenizerBase":
    """A copy of the first whose model knows the others' pieces."""
    if getattr(first, "backend_tokenizer", None) is None:
        new = {token for other in others for token in other.get_vocab()} - set(first.get_vocab())
        if new - {token.content for other in others for token in other.added_tokens_decoder.values()}:
            raise CompressionError(
                f"{type(first).__name__} has no tokenizer.json, so its vocabulary cannot be extended; save it as a fast"
                " tokenizer, or take one tokenizer as it is: tokenizer: {source: base}"
            )
        return _reload(first, None)
    data = json.loads(first.backend_tokenizer.to_str())
    model = data["model"]
    known = dict(first.get_vocab())
    next_id = max(known.values(), default=-1) + 1
    pieces: dict[str, int] = {}
    scores: dict[str, float] = {}
    merges = {_pair(merge): None for merge in model.get("merges", [])}
    for other in others:
        theirs = json.loads(other.backend_tokenizer.to_str())["model"]
        added = {token.content for token in other.added_tokens_decoder.values()}
        if isinstance(theirs["vocab"], list):
            scores.update({piece: score for piece, score in theirs["vocab"] if piece not in scores})
        for token, _ in sorted(other.get_vocab().items(), key=lambda item: item[1]):
            if token not in known and token not in added:
                known[token] = pieces[token] = next_id
                next_id += 1
        merges.update({_pair(merge): None for merge in theirs.get("merges", [])})
    if not pieces:
        return _reload(first, None)
    # Added tokens that are no pieces take the first free number behind the pieces, so they must become pieces to stay.
    fixed = {token.content: index for index, token in first.added_tokens_decoder.items()}
    if isinstance(model["vocab"], list):
        lowest = min(score for _, score in model["vocab"])
        tokens = sorted({**fixed, **pieces}.items(), key=lambda item: item[1])
        present = {piece for piece, _ in model["vocab"]}
        model["vocab"] += [[token, scores.get(token, lowest)] for token, _ in tokens if token not in present]
    else:
        model["vocab"] = {**fixed, **model["vocab"], **pieces}
    if "merges" in model:
        model["merges"] = [list(pair) for pair in merges]
    return _reload(first, data)


def _pair(merge: str | list[str]) -> tuple[str, ...]:
    """Merge rules stand as "a b" in older files and as [a, b] in newer ones."""
    return tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)


def _reload(tokenizer: "PreTrainedTokenizerBase", data: dict[str, Any] | None) -> "PreTrainedTokenizerBase":
    """A copy, made by saving and loading, with another tokenizer.json where one is given."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        if data is not None:
            (Path(folder) / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
        copied = tokenizer_in(Path(folder))
    assert copied is not None
    return copied
