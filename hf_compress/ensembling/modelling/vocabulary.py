"""The union of several members' vocabularies, by what tokens spell."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.spelling import Spelling


class UnionVocabulary:
    """Tokens of several tokenizers as one vocabulary; the first member's keep their ids, and others follow.

    Two tokens are one if they spell the same bytes. Special tokens are one if they have the same part: what ends a text,
    begins one or fills rows up; other special tokens if they are written alike.

    Attributes:
        spellings: of the members.
        tokens: by id, what it spells; None for special tokens.
        size: how many there are.
    """

    def __init__(self, spellings: Sequence[Spelling], widths: Sequence[int]) -> None:
        """Of members' tokens.

        Args:
            spellings: theirs.
            widths: how many logits each gives; ids that have none, or logits without a token, are left out.
        """
        self.spellings = list(spellings)
        first = self.spellings[0]
        self.tokens: list[bytes | None] = list(first.tokens)
        self.written: list[str] = []
        index = dict(first.own)
        self._roles = [_roles(first, one) for one in self.spellings]
        known = set(first.specials) | {first.written(spelled) for spelled in first.tokens if spelled is not None}
        maps = []
        for place, (one, width) in enumerate(zip(self.spellings, widths, strict=True)):
            pairs = []
            for number, spelled in enumerate(one.tokens[:width]):
                if place == 0:
                    pairs.append((number, number))
                elif spelled is None:
                    role = self._roles[place].get(number)
                    pairs += [] if role is None else [(number, role)]
                else:
                    if spelled not in index and (written := first.written(spelled)) is not None and written not in known:
                        index[spelled] = len(self.tokens)
                        self.tokens.append(spelled)
                        self.written.append(written)
                        known.add(written)
                    pairs += [(number, index[spelled])] if spelled in index else []
            maps.append(pairs)
        self.size = len(self.tokens)
        self._layers = [_layers(pairs) for pairs in maps]
        self._specials = [{to: own for own, to in reversed(roles.items())} for roles in self._roles]
        for roles, one in zip(self._specials, self.spellings, strict=True):
            roles.update(dict.fromkeys(first.eos, one.eos[0]) if one.eos else {})

    def distribution(self, place: int, logits: Tensor) -> Tensor:
        """A member's logits as log-probabilities over the union; -inf for tokens that it does not have.

        Args:
            place: of the member.
            logits: (B, V), of its own vocabulary. Tokens that the union does not have count nothing.

        Returns:
            (B, U) in fp32.
        """
        layers = [(own.to(logits.device), to.to(logits.device)) for own, to in self._layers[place]]
        kept = torch.cat([own for own, _ in layers])
        logits = logits.float()
        shares = logits - logits[:, kept].logsumexp(-1, keepdim=True)
        made = shares.new_full((len(logits), self.size), -torch.inf)
        for own, to in layers:  # tokens that spell the same add up; in one layer none do
            made[:, to] = torch.logaddexp(made[:, to], shares[:, own])
        return made

    def read(self, place: int, ids: Sequence[int]) -> tuple[list[int], bool]:
        """What a member reads of a text that is given in the union's tokens.

        Text between special tokens is tokenized as the member does it. Behind the last whole letter come the member's
        tokens for the bytes that are there. Special tokens that it does not know are left out.

        Args:
            place: of the member.
            ids: of the text so far.

        Returns:
            Its ids, at least one; and whether it reads everything: a member without bytes cannot read half a letter.

        Raises:
            CompressionError: nothing is left to read.
        """
        one = self.spellings[place]
        made: list[int] = [] if place == 0 else list(one.before)
        whole, begun = True, False
        for special, run in self.runs(place, ids):
            if special is not None:
                own = self.special(place, special)
                made += [] if own is None else [own]
                continue
            read, whole = self._text(place, run, not begun)
            begun = True
            made += read
        if not made:
            start = one.start()
            if start is None:
                raise CompressionError(
                    f"member {one.name!r} has nothing to read, and no token that begins a text; give it a text"
                )
            made = [start]
        return made, whole

    def special(self, place: int, number: int) -> int | None:
        """A member's id for a special token of the union."""
        return number if place == 0 else self._specials[place].get(number)

    def runs(self, place: int, ids: Sequence[int]) -> list[tuple[int | None, list[int]]]:
        """Special tokens, each alone, and the runs of text between; for others than the first without its beginning."""
        first = self.spellings[0]
        skip = len(first.before) if place and first.before and list(ids[: len(first.before)]) == first.before else 0
        made: list[tuple[int | None, list[int]]] = []
        for number in ids[skip:]:
            if self.tokens[number] is None:
                made.append((number, []))
            elif made and made[-1][0] is None:
                made[-1][1].append(number)
            else:
                made.append((None, [number]))
        return made

    def _text(self, place: int, run: list[int], at_start: bool) -> tuple[list[int], bool]:
        one, first = self.spellings[place], self.spellings[0]
        pieces = [self.tokens[number] or b"" for number in run]
        whole = _whole_letters(pieces)
        text = b"".join(pieces[:whole])
        if place and at_start and text:
            text = one.prefix + text.removeprefix(first.prefix)
        made = one.encode(text.decode("utf-8"))
        for piece in pieces[whole:]:
            own = one.of_bytes(piece)
            if own is None:
                return made, False
            made += own
        return made, True

    def tokenizer(self, first: Any) -> PreTrainedTokenizerFast:
        """The first member's tokenizer with the tokens of the others: it encodes as before, and decodes all of them."""
        plain = json.loads(first.backend_tokenizer.to_str())
        at = len(self.spellings[0].tokens)
        new = {written: at + number for number, written in enumerate(self.written)}
        if plain["model"]["type"] == "BPE":
            plain["model"]["vocab"] |= new  # no merge leads there
        else:
            lowest = min(score for _, score in plain["model"]["vocab"]) - 100
            added = {one["id"]: one["content"] for one in plain["added_tokens"]}
            between = [added.get(number, f"<{number}>") for number in range(len(plain["model"]["vocab"]), at)]
            plain["model"]["vocab"] += [[written, lowest] for written in (*between, *new)]
        made = PreTrainedTokenizerFast(
            tokenizer_object=type(first.backend_tokenizer).from_str(json.dumps(plain)),
            model_max_length=first.model_max_length,
            padding_side="left",
            truncation_side=first.truncation_side,
            model_input_names=["input_ids", "attention_mask"],
            clean_up_tokenization_spaces=False,
            **first.special_tokens_map,
        )
        made.chat_template = first.chat_template
        return made


def _whole_letters(pieces: list[bytes]) -> int:
    """How many pieces, from the first, are UTF-8 together."""
    for count in range(len(pieces), 0, -1):
        try:
            b"".join(pieces[:count]).decode("utf-8")
        except UnicodeDecodeError:
            continue
        return count
    return 0


def _roles(first: Spelling, one: Spelling) -> dict[int, int]:
    """A member's special ids -> the first member's."""
    found = {number: first.specials[content] for content, number in one.specials.items() if content in first.specials}
    for own, to in ((one.pad, first.pad), (one.bos, first.bos)):
        if own is not None and to is not None:
            found[own] = to
    found |= dict.fromkeys(one.eos, first.eos[0]) if first.eos else {}
    return found


def _layers(pairs: list[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    """Own ids and the union's, in layers in which none of the union's is there twice."""
    times: dict[int, int] = {}
    layers: list[list[tuple[int, int]]] = []
    for own, to in pairs:
        depth = times.get(to, 0)
        times[to] = depth + 1
        if depth == len(layers):
            layers.append([])
        layers[depth].append((own, to))
    return [(torch.tensor([own for own, _ in layer]), torch.tensor([to for _, to in layer])) for layer in layers]
