"""Language models with different tokenizers: each reads the text in its own tokens; the next token is of all of them."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.cache import CACHE
from hf_compress.ensembling.modelling.language import ParallelEnsembleForCausalLM
from hf_compress.ensembling.modelling.parallel import ParallelConfig
from hf_compress.ensembling.modelling.processors import load_processor
from hf_compress.ensembling.modelling.reading import NO_TOKEN, Reading, UnionCache
from hf_compress.ensembling.modelling.spans import mixed, score_spans
from hf_compress.ensembling.modelling.spelling import Spelling
from hf_compress.ensembling.modelling.vocabulary import UnionVocabulary

OVER_A_UNION = ("mean_probabilities", "hard_vote", "maximum")
"""Combiners by which a token is possible that some members do not have."""


class UnionConfig(ParallelConfig):
    """Of a `UnionEnsembleForCausalLM`; vocab_size is that of the union."""

    model_type = "union_ensemble"


class UnionEnsembleForCausalLM(ParallelEnsembleForCausalLM):
    """Members with tokenizers of their own, token by token over the union of their vocabularies.

    p(t | before) = combiner over m of p_m(t | before), where member m reads the text before in its own tokenization and
    gives 0 to tokens that it does not have. The chosen token is text, which every member reads tokenized anew: what of its
    tokens stays the same stays in its cache. Tokens are the same if they spell the same bytes; the ensemble's tokenizer is
    the first member's, with the other members' tokens behind its own.

    Attributes:
        tokenizers: of the members, in order.
        vocabulary: their union.
    """

    by_text: ClassVar[bool] = True
    config_class = UnionConfig

    def __init__(self, config: Any, members: Any = None) -> None:
        super().__init__(config, members)
        name = (config.combiner or {}).get("name")
        if name not in OVER_A_UNION:
            raise CompressionError(
                f"combiner={name!r}: members have different tokenizers, and by it a token that one of them lacks would be"
                f" impossible for all; take one of {', '.join(OVER_A_UNION)}"
            )
        inner = next((name for name, one in zip(config.names, self.members, strict=True) if _by_text(one)), None)
        if inner is not None:
            raise CompressionError(
                f"member {inner!r} is an ensemble with several tokenizers, which cannot be a member; give its members"
            )
        self.tokenizers: list[Any] = []
        self.vocabulary: Any = None

    @property
    def num_classes(self) -> int:
        """Tokens of the union."""
        return int(self.vocabulary.size)

    def take_processors(self, processors: Sequence[Any]) -> None:
        """The members' tokenizers, of which the ensemble's is made.

        Raises:
            CompressionError: what the tokens of one spell cannot be known.
        """
        self.tokenizers = list(processors)
        ends = [_ends(member) for member in self.members]
        spellings = [Spelling(*facts) for facts in zip(self.tokenizers, self.config.names, ends, strict=True)]
        members: list[Any] = list(self.members)
        self.vocabulary = UnionVocabulary(spellings, [one.config.get_text_config().vocab_size for one in members])
        self.config.vocab_size = self.vocabulary.size
        self.processor = self.vocabulary.tokenizer(self.tokenizers[0])

    def load_processors(self, place: dict[str, Any], places: Sequence[dict[str, Any]]) -> None:
        """The tokenizers that lie beside the members.

        Raises:
            CompressionError: one does not.
        """
        found = [load_processor(one, str(self.config.auto_class)) for one in places]
        missing = [name for name, one in zip(self.config.names, found, strict=True) if one is None]
        if missing:
            raise CompressionError(f"member {missing[0]!r} has no tokenizer beside it, and reads the text by its own")
        self.take_processors(found)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        cache: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """Combined log-probabilities of the next token at every place, over the union.

        Args:
            input_ids: (B, T) tokens of the union.
            attention_mask: (B, past + T), 0 where a row is padding.
            position_ids: not read: members count their own tokens.
            past_key_values: what an earlier call gave back.
            cache: the same, by its newer name.
            labels: (B, T), input_ids or -100. The output has a loss then and no logits.
            use_cache: give back what members have read.
            logits_to_keep: the last places that logits are wanted for; 0 for all; every member is asked about each.
            **others: none.

        Raises:
            CompressionError: no tokens, the cache of something else, or labels that cannot be scored.
        """
        if self.vocabulary is None:
            raise CompressionError("the members' tokenizers are not known; load the ensemble by from_pretrained")
        if input_ids is None or not input_ids.shape[1]:
            raise CompressionError(
                "members read text by their own tokenizers; give input_ids, one token or more, no embeddings"
            )
        self._refuse_strange(input_ids, attention_mask)
        if labels is not None:
            loss = self._span_loss(input_ids, attention_mask, labels)
            return CausalLMOutputWithPast(loss=loss)  # type: ignore[arg-type]
        held = self.held(past_key_values if cache is None else cache, bool(use_cache))
        new = input_ids
        if attention_mask is not None:
            new = new.masked_fill(attention_mask[:, -new.shape[1] :].to(new.device) == 0, NO_TOKEN)
        before = new[:, :0] if held.tokens is None else held.tokens.to(new.device)
        held.tokens = torch.cat([before, new], dim=1)
        length = new.shape[1]
        places = range(length)
        some = logits_to_keep
        kept = [places[k] for k in some.tolist()] if isinstance(some, Tensor) else places[-some:]
        rows = held.tokens.tolist()
        logits = torch.stack([self._next([row[: before.shape[1] + k + 1] for row in rows], held) for k in kept], dim=1)
        return CausalLMOutputWithPast(logits=logits, **{CACHE: held if use_cache else None})  # type: ignore[arg-type]

    def _refuse_strange(self, tokens: Tensor, mask: Tensor | None) -> None:
        """Refuse ids that the union does not have; padding may be anything."""
        kept = tokens if mask is None else tokens[mask[:, -tokens.shape[1] :].to(tokens.device) != 0]
        wrong = kept[(kept < 0) | (kept >= self.vocabulary.size)].tolist()
        if wrong:
            raise CompressionError(
                f"input_ids: {wrong[0]} is no token of the {self.vocabulary.size} of the union; take ids of the ensemble's"
                " own tokenizer"
            )

    def _span_loss(self, tokens: Tensor, mask: Tensor | None, labels: Tensor) -> Tensor:
        """- sum of log p(span) over the spans whose tokens all have labels, per such token of the first member's.

        Tokens, because the first member's own loss is a mean over them. p(span | before) = sum_m w_m p_m(span | before).
        """
        self.refuse_spans()
        tokens, labels = tokens.cpu(), labels.cpu()
        kept = torch.ones_like(tokens) if mask is None else mask.cpu()
        if bool(((labels != -100) & (labels != tokens)).any()):
            raise CompressionError("labels must be input_ids, or -100 where nothing counts: a text is scored as it stands")
        rows = [row[seen.bool()].tolist() for row, seen in zip(tokens, kept, strict=True)]
        counted = [(row != -100)[seen.bool()].tolist() for row, seen in zip(labels, kept, strict=True)]
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for row, labelled, spans in zip(rows, counted, score_spans(self, self.vocabulary, rows), strict=True):
            held = [_labelled(given_ends(self.vocabulary, row), labelled, place) for place in spans.places]
            scores, weights = self.without_nan(spans.scores[:, [k for k, one in enumerate(held) if one]])
            total = total - mixed(scores, self._weights(scores) if weights is None else weights).sum()
            count += sum(held)
        return (total / count).float()

    def refuse_spans(self) -> None:
        """Refuse to score texts by what has no meaning for spans.

        Raises:
            CompressionError: another combiner than mean_probabilities, or a threshold.
        """
        name = str((self.config.combiner or {}).get("name"))
        if name != "mean_probabilities" or self.config.threshold is not None:
            what = f"combiner={name!r}" if name != "mean_probabilities" else f"threshold={self.config.threshold}"
            raise CompressionError(
                f"{what}: texts are scored in spans that are several tokens long, and only mean_probabilities without a"
                " threshold gives them a probability; score them by such an ensemble"
            )

    def _next(self, rows: list[list[int]], held: UnionCache) -> Tensor:
        """(B, U) log-probabilities of the next token behind each row of the union's tokens."""
        rows = [[number for number in row if number != NO_TOKEN] for row in rows]
        first, reads = self._said(0, rows, held)
        sure = None if self._asks_all() else self._sure(first) & reads
        asked = sure is None or not bool(sure.all())
        if sure is not None:
            self._count(sure, asked)
        if not asked:
            return first
        said = [(first, reads), *(self._said(place, rows, held) for place in range(1, len(self.members)))]
        answers, weights = self.without_nan(torch.stack([one for one, _ in said]))
        weights = self._weights(answers) if weights is None else weights
        counted = weights[:, None] * torch.stack([reads for _, reads in said]).to(weights)
        fused = self.combiner().combine(answers, counted)
        return fused if sure is None else torch.where(sure[:, None], first, fused)

    def _said(self, place: int, rows: list[list[int]], held: UnionCache) -> tuple[Tensor, Tensor]:
        """A member's (B, U) log-probabilities, and (B,) whether it could read all of the row."""
        read = [self.vocabulary.read(place, row) for row in rows]
        scale = 1.0 if self.config.temperatures is None else self.config.temperatures[place]
        logits = held.readings[place].ask([ids for ids, _ in read]).to(self.device).float() / scale
        whole = torch.tensor([one for _, one in read], device=self.device)
        return self.vocabulary.distribution(place, logits), whole

    def held(self, given: Any, use_cache: bool) -> UnionCache:  # type: ignore[override]
        """What members have read.

        Args:
            given: what an earlier call gave back, or None; another cache only while it is empty.
            use_cache: of no account here: a forward that keeps nothing has readings of its own.

        Raises:
            CompressionError: a cache of one model that has seen tokens.
        """
        if isinstance(given, UnionCache):
            return given
        if given is not None and given.get_seq_length():
            raise CompressionError(
                f"a {type(given).__name__} is for one model; give the ensemble the {CACHE} that it gave back, or none"
            )
        return self.new_cache()

    def new_cache(self) -> UnionCache:  # type: ignore[override]
        """Nothing read so far, by any member."""
        return UnionCache([Reading(*facts) for facts in zip(self.members, self.config.names, strict=True)])


def given_ends(vocabulary: UnionVocabulary, ids: Sequence[int]) -> list[int]:
    """Where each token that was given ends, in places as `Track` counts them; 0 for those before the text."""
    first = vocabulary.spellings[0]
    skip = len(first.before) if first.before and list(ids[: len(first.before)]) == first.before else 0
    ends, at, begun = [0] * skip, 0, False
    for number in ids[skip:]:
        spelled = vocabulary.tokens[number]
        at += 1 if spelled is None else len(spelled)
        if spelled is not None and not begun:
            at -= len(first.prefix) if spelled.startswith(first.prefix) else 0
            begun = True
        ends.append(at)
    return ends


def _labelled(ends: list[int], labelled: list[bool], place: tuple[int, int]) -> int:
    """How many given tokens lie in a span, if all of them have labels; else 0."""
    begins = [0, *ends[:-1]]
    inside = [
        label for begin, end, label in zip(begins, ends, labelled, strict=True) if begin < place[1] and end > place[0]
    ]
    return len(inside) if all(inside) else 0


def _by_text(member: Any) -> bool:
    return isinstance(member, UnionEnsembleForCausalLM)


def _ends(member: Any) -> list[int]:
    """Ids that a model's way of generating ends at."""
    found = getattr(getattr(member, "generation_config", None), "eos_token_id", None)
    return list(found) if isinstance(found, list | tuple) else [] if found is None else [int(found)]
