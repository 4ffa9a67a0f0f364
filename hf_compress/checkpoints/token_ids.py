"""Numbers in config.json and generation_config.json that are token ids, moved to another vocabulary."""

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ONE = re.compile(r".*_token_(id|index)$")
"""One id, or a list of which any counts (several ends of text)."""
_LISTS = {"suppress_tokens", "begin_suppress_tokens", "bad_words_ids"}
_PAIRS = {"forced_decoder_ids"}
"""Lists of [position, id], where no id leaves the choice to the model."""
_BIASES = {"sequence_bias"}
"""Lists of [ids, bias]."""
_NAMED = {"lang_to_id", "task_to_id", "text_decoder_lang_to_code_id"}
"""Mappings name -> id."""


def move_token_ids(
    data: Mapping[str, Any], moved: Mapping[int, int | None], tokenizer: "PreTrainedTokenizerBase", place: str
) -> dict[str, Any]:
    """A copy of the config, nested ones included, with the same tokens under their new ids.

    Args:
        data: config.json or generation_config.json as plain data.
        moved: old id -> new id; None where the result has no such token. Ids that are not in it stay.
        tokenizer: the result's; names bos, eos, pad and unk where the old ones are gone.
        place: the file, for errors.

    Raises:
        CompressionError: a token the model cannot run without is not in the result.
    """
    result: dict[str, Any] = {}
    for key, value in data.items():
        pairs = value if key in _PAIRS | _BIASES and isinstance(value, list) else []
        if not all(isinstance(item, list) and len(item) == 2 for item in pairs):
            raise CompressionError(f"{place}: {key}={value!r} is not a list of pairs; correct it, or remove it")
        if key in _NAMED and isinstance(value, Mapping):
            new_ids = {name: moved.get(index, index) for name, index in value.items()}
            result[key] = {name: index for name, index in new_ids.items() if index is not None}
        elif isinstance(value, Mapping):
            result[key] = move_token_ids(value, moved, tokenizer, place)
        elif _ONE.match(key) and isinstance(value, int) and not isinstance(value, bool):
            new = moved.get(value, value)
            if new is None:
                if not hasattr(type(tokenizer), key) and not hasattr(tokenizer, key):
                    raise CompressionError(
                        f"{place}: {key}={value} names a token that the result's tokenizer lacks; take a tokenizer that has"
                        " it, e.g. tokenizer: {source: union}"
                    )
                new = getattr(tokenizer, key)
            result[key] = new
        elif (_ONE.match(key) or key in _LISTS) and isinstance(value, list):
            result[key] = _move_list(value, moved)
            if not result[key] and value and _ONE.match(key):
                result[key] = getattr(tokenizer, key, None)
        elif key in _PAIRS and isinstance(value, list):
            triples = [(at, index, moved.get(index, index)) for at, index in value]
            result[key] = [[at, new] for at, index, new in triples if new is not None or index is None]
        elif key in _BIASES and isinstance(value, list):
            biases = [(_move_list([ids], moved), bias) for ids, bias in value]
            result[key] = [[kept[0], bias] for kept, bias in biases if kept]
        else:
            result[key] = copy.deepcopy(value)
    return result


def _move_list(values: list[Any], moved: Mapping[int, int | None]) -> list[Any]:
    """Ids that are gone leave the list; a word whose token is gone can no longer be written, so it leaves as a whole."""
    kept: list[Any] = []
    for value in values:
        if isinstance(value, list):
            if all(moved.get(index, index) is not None for index in value):
                kept.append([moved.get(index, index) for index in value])
        elif moved.get(value, value) is not None:
            kept.append(moved.get(value, value))
    return kept
