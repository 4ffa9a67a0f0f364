"""A tokenizer of characters, made of the texts that are to be spelled."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError

BLANK, UNKNOWN = "<pad>", "<unk>"
_DELIMITERS = "|▁␣"
"""What may stand for a space; the first that no text has."""


def character_tokenizer(texts: Iterable[str]) -> Any:
    """A CTC tokenizer whose vocabulary are the characters of `texts`, sorted; the same texts give the same one.

    The blank of CTC pads and has the id 0; other characters than these are <unk>.

    Raises:
        CompressionError: no character is left to stand for the space.
    """
    from transformers import Wav2Vec2CTCTokenizer

    characters = sorted({character for text in texts for character in text if not character.isspace()})
    delimiter = next((one for one in _DELIMITERS if one not in characters), None)
    if delimiter is None:
        raise CompressionError(
            f"task.text: the texts use {', '.join(_DELIMITERS)} themselves, so none can stand for the space; take one out"
        )
    ids = {token: number for number, token in enumerate([BLANK, UNKNOWN, delimiter, *characters])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(file),
            pad_token=BLANK,
            unk_token=UNKNOWN,
            bos_token=None,
            eos_token=None,
            word_delimiter_token=delimiter,
        )
