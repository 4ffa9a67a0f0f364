"""The pieces of a fast tokenizer: which a text needs, and the tokenizer that knows no others."""

import copy
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from hf_compress._errors import CompressionError

_KNOWN = ("BPE", "Unigram", "WordPiece", "WordLevel")


def check_kind(data: Mapping[str, Any]) -> None:
    """Refuse a tokenizer.json whose pieces cannot be taken out so that the others stay what they are.

    Raises:
        CompressionError: with what it is.
    """
    model = data["model"]
    kind = model.get("type")
    if kind not in _KNOWN:
        raise CompressionError(f"a tokenizer of kind {kind} is not one whose pieces can go; known: {', '.join(_KNOWN)}")
    marks = [key for key in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if kind == "BPE" and marks:
        raise CompressionError(f"a BPE tokenizer with {marks[0]}={model[marks[0]]!r} is not one whose merges can go")


def ids_of_pieces(data: Mapping[str, Any]) -> dict[str, int]:
    """Piece -> id, added tokens among them."""
    vocab = data["model"]["vocab"]
    pieces = dict(vocab) if isinstance(vocab, Mapping) else {piece: place for place, (piece, _) in enumerate(vocab)}
    return pieces | {token["content"]: token["id"] for token in data["added_tokens"]}


def always_kept(data: Mapping[str, Any]) -> set[int]:
    """Ids of what no text decides: added tokens, what is put around texts, the unknown token, and the smallest pieces.

    The smallest are the bytes where the tokenizer falls back on them, and all single characters where it does not: so
    every text that could be written still can.
    """
    model, pieces = data["model"], ids_of_pieces(data)
    prefix = model.get("continuing_subword_prefix") or ""
    smallest = {
        index
        for piece, index in pieces.items()
        if (_is_byte(piece) if model.get("byte_fallback") else len(piece.removeprefix(prefix)) == 1)
    }
    added = {token["id"] for token in data["added_tokens"]}
    unknown = model.get("unk_token")
    named = {pieces[unknown]} if unknown in pieces else set()
    if model.get("unk_id") is not None:
        named.add(model["unk_id"])
    return smallest | added | named | set(_ids_around(data.get("post_processor")))


def closed(data: Mapping[str, Any], ids: Iterable[int]) -> tuple[set[int], list[tuple[str, str]]]:
    """The ids together with those that BPE makes on the way to them, and the merges that it makes them by, in order.

    Merges are never undone, so a text whose pieces are all among `ids` needs no merge but those inside of its pieces, and
    inside of a piece they are the same wherever it stands: those that encode the piece alone.
    """
    kept = set(ids)
    if data["model"]["type"] != "BPE":
        return kept, []
    pieces = ids_of_pieces(data)
    ranks = {_pair(merge): rank for rank, merge in enumerate(data["model"]["merges"])}
    used: set[tuple[str, str]] = set()
    whole = {token["content"] for token in data["added_tokens"]}
    for piece, index in pieces.items():
        if index in kept and piece not in whole:
            used.update(_merges_of(piece, ranks))
    for left, right in used:
        kept |= {pieces[left], pieces[right], pieces[left + right]}
    return kept, sorted(used, key=ranks.__getitem__)


def _merges_of(piece: str, ranks: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The merges by which BPE encodes one piece, from its characters on: of those possible always the first learned."""
    symbols = list(piece)
    used: list[tuple[str, str]] = []
    while True:
        pairs = list(itertools.pairwise(symbols))
        best = min((pair for pair in pairs if pair in ranks), key=ranks.__getitem__, default=None)
        if best is None:
            return used
        used.append(best)
        place = pairs.index(best)
        symbols[place : place + 2] = ["".join(best)]


def rewritten(data: Mapping[str, Any], moved: Mapping[int, int | None], merges: list[tuple[str, str]]) -> dict[str, Any]:
    """tokenizer.json with the pieces that have a new id, under it.

    Args:
        data: tokenizer.json.
        moved: id -> new id, ascending with the old ones; None for what goes.
        merges: of BPE, those that stay.
    """
    result = copy.deepcopy(dict(data))
    model = result["model"]
    if isinstance(model["vocab"], Mapping):
        model["vocab"] = {piece: new for piece, old in model["vocab"].items() if (new := moved[old]) is not None}
    else:
        model["vocab"] = [pair for place, pair in enumerate(model["vocab"]) if moved[place] is not None]
        model["unk_id"] = None if model["unk_id"] is None else moved[model["unk_id"]]
    if model["type"] == "BPE":
        as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
        model["merges"] = [" ".join(pair) if as_text else list(pair) for pair in merges]
    for token in result["added_tokens"]:
        token["id"] = moved[token["id"]]
    if result.get("padding"):
        result["padding"]["pad_id"] = moved.get(result["padding"]["pad_id"], 0)
    _move_around(result.get("post_processor"), moved)
    return result


def _ids_around(processor: Any) -> Iterable[int]:
    """Of tokens that a post-processor puts around texts."""
    for part in _parts(processor):
        for token in (part.get("special_tokens") or {}).values() if part.get("type") == "TemplateProcessing" else ():
            yield from token["ids"]
        for key in ("sep", "cls"):
            if isinstance(part.get(key), list):
                yield part[key][1]


def _move_around(processor: Any, moved: Mapping[int, int | None]) -> None:
    for part in _parts(processor):
        if part.get("type") == "TemplateProcessing":
            for token in (part.get("special_tokens") or {}).values():
                token["ids"] = [moved[index] for index in token["ids"]]
        for key in ("sep", "cls"):
            if isinstance(part.get(key), list):
                part[key][1] = moved[part[key][1]]


def _parts(processor: Any) -> list[dict[str, Any]]:
    if processor is None:
        return []
    return processor["processors"] if processor.get("type") == "Sequence" else [processor]


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
