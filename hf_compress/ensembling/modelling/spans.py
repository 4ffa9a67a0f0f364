"""One text in several members' tokens, scored piece by piece between the boundaries that all of them have."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.reading import refuse_long
from hf_compress.ensembling.modelling.vocabulary import UnionVocabulary


@dataclass
class Track:
    """A text in one member's tokens.

    Places count bytes of the text and special tokens, from 0.

    Attributes:
        ids: of its tokens, with what it reads before the text.
        ends: the place where each ends; 0 for those before the text.
        bounds: places between its tokens, behind something that it has read.
        silent: ends of special tokens that it does not know.
    """

    ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    bounds: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)

    def add(self, ids: Sequence[int], lengths: Sequence[int], at: int, before: int) -> None:
        """Tokens one behind the other.

        Args:
            ids: of them.
            lengths: in bytes.
            at: the place where the first begins.
            before: bytes that it begins with and that are not of the text; a token that has no others ends with the next.
        """
        ends, here = [], at - before
        for length in lengths:
            here += length
            ends.append(here)
        for k in range(len(ends) - 2, -1, -1):
            ends[k] = ends[k] if ends[k] > at else ends[k + 1]
        self.ids += ids
        self.ends += ends
        self.bounds |= set(ends)


@dataclass(frozen=True, kw_only=True)
class Spans:
    """A text cut at the boundaries that all members have.

    Attributes:
        places: (begin, end) of each span, in bytes and special tokens.
        scores: (M, N) log p_m(span | what is before), fp64: the sum over the member's tokens in it.
    """

    places: list[tuple[int, int]]
    scores: Tensor


def track(vocabulary: UnionVocabulary, place: int, ids: Sequence[int], start: bool) -> Track:
    """A text in a member's tokens.

    Args:
        vocabulary: of all members.
        place: of the member.
        ids: the text in the union's tokens. The first member reads them as they are.
        start: put a token before it that begins a text, so that all of it can be scored.

    Raises:
        CompressionError: the member's tokenizer changes the text, or has no token that begins one.
    """
    one, first = vocabulary.spellings[place], vocabulary.spellings[0]
    begins = bool(first.before) and list(ids[: len(first.before)]) == first.before
    made = Track(ids=list(one.before) if place or begins else [])
    if start and not made.ids:
        made.ids = [one.start()] if one.start() is not None else []  # type: ignore[list-item]
        if not made.ids:
            raise CompressionError(f"member {one.name!r} has no token that begins a text, so the first has no score")
    made.ends = [0] * len(made.ids)
    made.bounds = {0} if made.ids else set()
    at, begun = 0, False
    for special, run in vocabulary.runs(0, ids[len(first.before) if begins else 0 :]):
        if special is not None:
            own = vocabulary.special(place, special)
            at += 1
            if own is not None:
                made.add([own], [1], at - 1, 0)
            else:
                made.silent.add(at)
                made.bounds |= {at} if made.ids else set()
            continue
        pieces = [vocabulary.tokens[number] or b"" for number in run]
        data = b"".join(pieces)
        extra = 0 if begun or not data.startswith(first.prefix) else len(first.prefix)
        if place == 0 and max(run) < len(first.tokens):
            made.add(run, [len(piece) for piece in pieces], at, extra)
        else:
            own_prefix = b"" if begun else one.prefix
            _add_text(made, one, own_prefix, data[extra:], at)
        begun = True
        at += len(data) - extra
    return made


def _add_text(made: Track, one: Any, prefix: bytes, data: bytes, at: int) -> None:
    """A text as the member's own tokenizer has it. Parts of letters at its ends are nobody's but the first member's."""
    lead = next((k for k in range(min(4, len(data))) if data[k] & 0xC0 != 0x80), 0)
    rest = len(data)
    try:
        data[lead:].decode("utf-8")
    except UnicodeDecodeError as error:
        rest = lead + error.start
        if len(data) - rest > 3:
            raise CompressionError(f"a text is not UTF-8 (byte {rest}), and members read texts; leave it out") from error
    prefix = b"" if lead else prefix
    text = prefix + data[lead:rest]
    ids = one.encode(text.decode("utf-8"))
    lengths = [len(one.tokens[number] or b"") for number in ids]
    if one.spell(ids) != text:
        raise CompressionError(
            f"member {one.name!r} has a tokenizer that changes the text {data[lead:rest].decode()[:40]!r}, so its tokens"
            " cannot be laid beside the others'; leave it out, or normalise it before"
        )
    made.add(ids, lengths, at + lead, len(prefix))


def score_spans(
    ensemble: Any, vocabulary: UnionVocabulary, rows: Sequence[Sequence[int]], start: bool = False
) -> list[Spans]:
    """Each text cut at the boundaries common to all members, and what each member gives to the pieces.

    log p_m(span | before) = sum over the tokens t of m in the span of log p_m(t | m's tokens before). A span with a special
    token that some member does not know is left out; so is what comes before the first boundary behind which every member
    has read something.

    Args:
        ensemble: whose members are asked, each once.
        vocabulary: of the members.
        rows: texts in the union's tokens, without padding.
        start: as `track` takes it.

    Raises:
        CompressionError: a text is too long for a member, or cannot be laid out.
    """
    tracks = [[track(vocabulary, place, row, start) for row in rows] for place in range(len(ensemble.members))]
    for name, member, own in zip(ensemble.config.names, ensemble.members, tracks, strict=True):
        refuse_long(member, name, max(len(one.ids) for one in own))
    sums = [_sums(ensemble, place, own) for place, own in enumerate(tracks)]
    found = []
    for row in range(len(rows)):
        own = [one[row] for one in tracks]
        common = sorted(set.intersection(*(one.bounds for one in own)))
        silent = set().union(*(one.silent for one in own))
        spans = [(a, b) for a, b in itertools.pairwise(common) if not any(a < end <= b for end in silent)]
        scores = []
        for one, totals in zip(own, (each[row] for each in sums), strict=True):
            ends = torch.tensor(one.ends)
            at = [torch.searchsorted(ends, torch.tensor(side), right=True) for side in zip(*spans, strict=True)]
            scores.append(totals[at[1]] - totals[at[0]] if spans else totals[:0])
        found.append(Spans(places=spans, scores=torch.stack(scores)))
    return found


def _sums(ensemble: Any, place: int, tracks: Sequence[Track]) -> list[Tensor]:
    """(1 + T,) for each text: log p of its first k tokens, fp64; the very first, behind nothing, counts 0."""
    member = ensemble.members[place]
    length = max(len(one.ids) for one in tracks)
    device = ensemble.device_of(member)
    # A text without a token is read as one, of which nothing is taken.
    ids = torch.tensor([one.ids + [0] * (max(length, 1) - len(one.ids)) for one in tracks], device=device)
    mask = torch.tensor([[1] * max(len(one.ids), 1) + [0] * (max(length, 1) - max(len(one.ids), 1)) for one in tracks])
    logits = member(input_ids=ids, attention_mask=mask.to(device), use_cache=False).logits.float()
    if ensemble.config.temperatures is not None:
        logits = logits / ensemble.config.temperatures[place]
    shares = logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0] - logits[:, :-1].logsumexp(-1)
    zero = shares.new_zeros(len(tracks), 2, dtype=torch.float64)
    totals = torch.cat([zero, shares.double().cumsum(-1)], dim=1).to(ensemble.device)
    return [own[: 1 + len(one.ids)] for own, one in zip(totals, tracks, strict=True)]


def mixed(scores: Tensor, weights: Tensor) -> Tensor:
    """The mixture: log sum_m w_m p_m(span) of scores (M, N), the weights divided by their sum; (N,)."""
    return (scores + (weights / weights.sum()).to(scores).log()[:, None]).logsumexp(0)
