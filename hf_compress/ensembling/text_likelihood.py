"""How likely whole texts are for an ensemble of language models and for each of its members, whatever their tokenizers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress.ensembling.combiner import check_weights
from hf_compress.ensembling.modelling.language import ParallelEnsembleForCausalLM
from hf_compress.ensembling.modelling.spans import mixed, score_spans
from hf_compress.ensembling.modelling.spelling import Spelling
from hf_compress.ensembling.modelling.union_language import UnionEnsembleForCausalLM
from hf_compress.ensembling.modelling.vocabulary import UnionVocabulary


@dataclass(frozen=True, kw_only=True)
class TextLikelihood:
    """Of N texts and M members; what is counted does not hang on any tokenizer, so all can be compared.

    Attributes:
        nats: (N,) -log p(text) of the ensemble, fp64.
        member_nats: (M, N) of each member alone.
        num_bytes: (N,) in UTF-8.
        num_words: (N,) what stands between spaces.
        spans: (M, S) log-likelihoods of the spans of all texts, which `mixture_weights` takes.
    """

    nats: Tensor
    member_nats: Tensor
    num_bytes: Tensor
    num_words: Tensor
    spans: Tensor

    def perplexity_per_word(self) -> tuple[float, list[float]]:
        """exp(nats / words) of all texts together: the ensemble's, and each member's."""
        words = float(self.num_words.sum())
        return math.exp(float(self.nats.sum()) / words), [math.exp(float(own.sum()) / words) for own in self.member_nats]

    def bits_per_byte(self) -> tuple[float, list[float]]:
        """Nats / (bytes * ln 2) of all texts together: the ensemble's, and each member's."""
        scale = float(self.num_bytes.sum()) * math.log(2)
        return float(self.nats.sum()) / scale, [float(own.sum()) / scale for own in self.member_nats]


def text_log_likelihood(
    ensemble: ParallelEnsembleForCausalLM,
    texts: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    batch_size: int = 8,
) -> TextLikelihood:
    """How likely texts are, each behind the token that begins a text (or that ends the one before, where there is none).

    A text is cut at the boundaries between tokens that all members have, and p(text) = prod over spans of
    sum_m w_m p_m(span | before). With one tokenizer the spans are its tokens. log p(text) >= sum_m w_m log p_m(text) by
    Jensen's inequality.

    Args:
        ensemble: of causal language models, combined by mean_probabilities.
        texts: at most as long as every member can read.
        weights: of the members, in place of the ensemble's.
        batch_size: texts at once.

    Raises:
        CompressionError: no texts, an empty one, one that a member cannot read, or another combiner.
    """
    if not isinstance(ensemble, ParallelEnsembleForCausalLM):
        raise CompressionError(f"{type(ensemble).__name__} is no ensemble of causal language models")
    _refuse_combiner(ensemble)
    if batch_size < 1:
        raise CompressionError(f"batch_size={batch_size}; it must be 1 or more")
    if not texts or not all(texts):
        raise CompressionError("no texts to score" if not texts else f"text {list(map(bool, texts)).index(False)} is empty")
    check_weights(weights, len(ensemble.members), ensemble.config.names)
    vocabulary = _vocabulary(ensemble)
    first = vocabulary.spellings[0]
    # In the order of their lengths, so that few places of a batch are padding.
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    scores: list[Tensor] = [torch.empty(0)] * len(texts)
    with torch.no_grad(), evaluating_without_gradients(ensemble):
        for begin in range(0, len(order), batch_size):
            numbers = order[begin : begin + batch_size]
            rows = [first.encode(first.prefix.decode() + texts[number]) for number in numbers]
            found = score_spans(ensemble, vocabulary, rows, start=True)
            for number, spans in zip(numbers, found, strict=True):
                scores[number] = _numbers(spans.scores.cpu(), ensemble.config.names)
    share = torch.tensor(weights or ensemble.config.weights or [1.0] * len(ensemble.members), dtype=torch.float64)
    return TextLikelihood(
        nats=torch.stack([-mixed(own, share).sum() for own in scores]),
        member_nats=torch.stack([-own.sum(1) for own in scores], dim=1),
        num_bytes=torch.tensor([len(text.encode()) for text in texts]),
        num_words=torch.tensor([len(text.split()) for text in texts]),
        spans=torch.cat(scores, dim=1),
    )


def _numbers(scores: Tensor, names: Sequence[str]) -> Tensor:
    for name, own in zip(names, scores, strict=True):
        if own.isnan().any():
            raise CompressionError(f"member {name!r} answers NaN; mend it or take it out")
    return scores


def _refuse_combiner(ensemble: Any) -> None:
    if isinstance(ensemble, UnionEnsembleForCausalLM):
        ensemble.refuse_spans()
    elif ensemble.config.threshold is not None or (ensemble.config.combiner or {}).get("name") != "mean_probabilities":
        raise CompressionError(
            "texts are scored under mean_probabilities without a threshold; make such an ensemble of them"
        )


def _vocabulary(ensemble: Any) -> UnionVocabulary:
    """Of members with tokenizers of their own, or of those with one."""
    if isinstance(ensemble, UnionEnsembleForCausalLM):
        return ensemble.vocabulary  # type: ignore[no-any-return]
    if ensemble.processor is None:
        raise CompressionError("the ensemble has no tokenizer to read texts with; make it with processors=")
    widths = [ensemble.num_classes] * len(ensemble.members)
    return UnionVocabulary([Spelling(ensemble.processor, name) for name in ensemble.config.names], widths)
