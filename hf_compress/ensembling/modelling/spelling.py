"""A tokenizer as bytes: what each of its tokens spells, and the tokens of any text."""

import json
import re
from collections.abc import Iterator
from typing import Any

from hf_compress._errors import CompressionError

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"
_PROBES = ("a", "Two words", "It is 1, 99.", "to  be")
"""What a tokenizer must spell letter by letter."""


def _byte_characters() -> dict[int, str]:
    """Byte -> the character that stands for it in byte-level vocabularies (Radford et al. 2019)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + k) for k, byte in enumerate(hidden)}}


BYTE_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in BYTE_CHARACTERS.items()}


class Spelling:
    """The tokens of one member as bytes, and any text as its tokens.

    Attributes:
        tokens: by id, what it spells; None for special tokens and those that spell nothing certain.
        before: ids that the tokenizer puts before every text.
        prefix: what it writes before a text by itself: a space, in most that were made with SentencePiece, or nothing.
        specials: content -> id.
        own: bytes -> the id that is them; of several the first that is no byte of its own.
        eos: ids that end a text, the usual one first.
        bos: the id that begins one, if there is any.
        pad: the id that fills rows up, if there is any.
    """

    def __init__(self, tokenizer: Any, name: str, eos: list[int] | None = None) -> None:
        """Of a tokenizer.

        Args:
            tokenizer: a fast one, byte-level or with the spaces of SentencePiece.
            name: of the member, for messages.
            eos: further ids that end a text, which its model's way of generating names.

        Raises:
            CompressionError: what its tokens spell cannot be known.
        """
        self.name = name
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise CompressionError(
                f"member {name!r} has the tokenizer {type(tokenizer).__name__}, which is not a fast one; language models"
                " with different tokenizers need fast ones"
            )
        plain = json.loads(backend.to_str())
        kinds = [_decoder_kind(part) for part in _parts(plain.get("decoder"), "decoders")]
        self.byte_level = "ByteLevel" in kinds
        if plain["model"]["type"] not in ("BPE", "Unigram") or not (self.byte_level or _SPACE in kinds):
            raise CompressionError(
                f"member {name!r} has a {plain['model']['type']} tokenizer whose tokens do not say which spaces stand"
                " between them; language models with different tokenizers need byte-level or SentencePiece ones"
            )
        inner = backend.encode("a", add_special_tokens=False).ids
        whole = backend.encode("a").ids
        self.before = whole[: next((k for k in range(len(whole)) if whole[k : k + len(inner)] == inner), 0)]
        self.specials = {one["content"]: one["id"] for one in plain["added_tokens"] if one["special"]}
        self.unk = plain["model"].get("unk_token")
        self.tokens = self._spelled(plain, backend)
        self.own: dict[bytes, int] = {}
        for number, spelled in enumerate(self.tokens):
            if spelled is not None and (spelled not in self.own or self._is_byte(self.own[spelled], backend)):
                self.own[spelled] = number
        self.prefix = self.spell(inner).removesuffix(b"a")
        self._backend = _exact(plain, type(backend))
        ends = list(eos or ())
        # The usual end of its texts, unless its model goes on behind that.
        ends.insert(0 if tokenizer.eos_token_id in ends or not ends else len(ends), tokenizer.eos_token_id)
        self.eos = list(dict.fromkeys(one for one in ends if one is not None))
        self.bos, self.pad = tokenizer.bos_token_id, tokenizer.pad_token_id
        for probe in _PROBES:
            if self.spell(self.encode(probe)) != probe.encode():
                raise CompressionError(
                    f"member {name!r} has a tokenizer that changes texts ({probe!r} becomes"
                    f" {self.spell(self.encode(probe)).decode(errors='replace')!r}); language models with different"
                    " tokenizers need ones that keep every letter"
                )

    def encode(self, text: str) -> list[int]:
        """Its tokens, nothing put before them; what looks like a special token is text."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def spell(self, ids: list[int]) -> bytes:
        """What tokens spell together."""
        return b"".join(self.tokens[number] or b"" for number in ids)

    def of_bytes(self, data: bytes) -> list[int] | None:
        """Tokens of bytes that are no text yet: one token if there is such a one, else byte by byte; None: it has none."""
        if data in self.own:
            return [self.own[data]]
        found = [self.own.get(bytes([byte])) for byte in data]
        return None if None in found else [one for one in found if one is not None]

    def start(self) -> int | None:
        """What a text begins behind where there is nothing else: the beginning of a text, or the end of the one before."""
        return self.bos if self.bos is not None else next(iter(self.eos), None)

    def written(self, data: bytes) -> str | None:
        """How its vocabulary writes bytes; None where it cannot."""
        if self.byte_level:
            return "".join(BYTE_CHARACTERS[byte] for byte in data)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return None if _SPACE in text or _BYTE.fullmatch(text) else text.replace(" ", _SPACE)

    def _is_byte(self, number: int, backend: Any) -> bool:
        return not self.byte_level and _BYTE.fullmatch(backend.id_to_token(number) or "") is not None

    def _spelled(self, plain: dict[str, Any], backend: Any) -> list[bytes | None]:
        vocabulary = backend.get_vocab(with_added_tokens=True)
        added = {one["content"] for one in plain["added_tokens"]}
        spelled: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
        for token, number in vocabulary.items():
            if token in self.specials or token == self.unk:
                continue
            if token in added:
                spelled[number] = token.encode()
            elif self.byte_level:
                spelled[number] = bytes(_BYTES[one] for one in token) if all(one in _BYTES for one in token) else None
            elif found := _BYTE.fullmatch(token):
                spelled[number] = bytes([int(found[1], 16)]) if plain["model"].get("byte_fallback") else token.encode()
            else:
                spelled[number] = token.replace(_SPACE, " ").encode()
        return [one or None for one in spelled]


def _parts(part: Any, inner: str) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer, or those that it is a sequence of."""
    if isinstance(part, dict):
        for one in part.get(inner) or ():
            yield from _parts(one, inner)
        yield part


def _decoder_kind(decoder: dict[str, Any]) -> str:
    """`ByteLevel`, the sign for a space, or the name of something else."""
    kind = str(decoder["type"])
    replaced = kind == "Replace" and decoder.get("pattern") == {"String": _SPACE} and decoder.get("content") == " "
    return _SPACE if replaced or (kind == "Metaspace" and decoder.get("replacement", _SPACE) == _SPACE) else kind


def _exact(plain: dict[str, Any], kind: Any) -> Any:
    """The same tokenizer, which writes nothing before a text, and takes special tokens in a text for text."""
    plain = json.loads(json.dumps({**plain, "post_processor": None, "truncation": None, "padding": None}))
    plain["normalizer"] = _without_prefix(plain["normalizer"])
    for part in _parts(plain["pre_tokenizer"], "pretokenizers"):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        if "add_prefix_space" in part:
            part["add_prefix_space"] = False
    made = kind.from_str(json.dumps(plain))
    made.encode_special_tokens = True
    return made


def _without_prefix(normalizer: Any) -> Any:
    if normalizer is None or normalizer["type"] == "Prepend":
        return None
    if normalizer["type"] == "Sequence":
        kept = [_without_prefix(one) for one in normalizer["normalizers"]]
        return {**normalizer, "normalizers": [one for one in kept if one is not None]}
    return normalizer
