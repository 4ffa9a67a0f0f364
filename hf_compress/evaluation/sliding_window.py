"""Perplexity of whole documents that are longer than a model reads at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._progress import progress
from hf_compress._registry import Reference
from hf_compress.evaluation.bootstrap import Summed
from hf_compress.tasks.metrics.sums import share

Window = tuple[int, int, int]
"""First place that is read, the one behind the last, the first that is predicted."""


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(metaclass=CheckedKinds):
    """Every token of a document is predicted once, from as much of what stands before it as a window holds.

    A document is [b, x_1, ..., x_n]: its tokens without special ones behind the token b that begins a text (the tokenizer's
    beginning, or else its end), from which x_1 is predicted; b itself is not. Window k reads the places from k stride on,
    and predicts those that no window before it has; every one of them has length - stride tokens before it or more, or all
    there are. With N tokens and B bytes of UTF-8 of all documents:

        window_perplexity = exp(1 / N sum -log p(x_i | window))        bits_per_byte = sum -log2 p(x_i | window) / B

    Bits per byte compare models of different tokenizers, where these lose nothing of the text.

    Attributes:
        length: tokens that the model reads at once, b among them.
        stride: how far the window moves, below `length`; smaller ones give more context and cost more passes. By default
            half of the length.

    Source: transformers' documentation, Perplexity of fixed-length models.
    """

    length: int = 512
    stride: int | None = None

    reference: ClassVar[Reference | None] = Reference(
        authors="Hugging Face",
        title="Perplexity of fixed-length models",
        year=2020,
        link="https://huggingface.co/docs/transformers/perplexity",
    )

    def __post_init__(self) -> None:
        if self.length < 2:
            raise CompressionError(
                f"length={self.length} is too short: a token is predicted from one before it; write 2 or more"
            )
        if self.stride is not None and not 1 <= self.stride < self.length:
            raise CompressionError(
                f"stride={self.stride} must lie between 1 and length - 1 = {self.length - 1}: the first token that a window"
                " predicts needs one before it"
            )

    @property
    def step(self) -> int:
        """The stride."""
        return self.length // 2 if self.stride is None else self.stride

    def windows(self, num_places: int) -> Iterator[Window]:
        """Of a document with so many places, b among them; every place but the first is predicted in one of them."""
        done = 1
        for begin in range(0, num_places, self.step):
            end = min(begin + self.length, num_places)
            if done < end:
                yield begin, end, done
            done = end
            if end == num_places:
                return


@dataclass(frozen=True, kw_only=True)
class Slid:
    """What was seen of documents that have tokens, (D,) each.

    Attributes:
        nll: sums over tokens, in nats.
        tokens: how many were predicted.
        num_bytes: of the UTF-8 of the text.
        begin: the token from which first tokens are predicted, as text.
    """

    nll: ndarray
    tokens: ndarray
    num_bytes: ndarray
    begin: str

    def summed(self) -> Summed:
        """window_perplexity and bits_per_byte."""

        def of_sums(sums: ndarray) -> dict[str, ndarray]:
            mean = share(sums[:, 0], sums[:, 1])
            return {
                "window_perplexity": numpy.exp(numpy.minimum(mean, 700.0)),
                "bits_per_byte": share(sums[:, 0], sums[:, 2]) / math.log(2),
            }

        return Summed(numpy.stack([self.nll, self.tokens, self.num_bytes], axis=1), of_sums)

    def metrics(self) -> dict[str, float]:
        """Of all documents."""
        one = self.summed()
        return {key: float(value[0]) for key, value in one.of_sums(one.statistics.sum(0, keepdims=True)).items()}

    def describe(self, window: SlidingWindow) -> str:
        """What was counted, for a report's setting."""
        return (
            f"{window.length} tokens, stride {window.step}: {self.tokens.sum():,} tokens, {self.num_bytes.sum():,} bytes of"
            f" {len(self.tokens):,} documents, each behind {self.begin!r}"
        )


def begin_of(tokenizer: Any) -> int:
    """The token that stands before a document.

    Raises:
        CompressionError: the tokenizer has none.
    """
    for name in ("bos_token_id", "eos_token_id"):
        token: int | None = getattr(tokenizer, name, None)
        if token is not None:
            return token
    raise CompressionError(
        f"window: {type(tokenizer).__name__} has no token that begins or ends a text, from which the first token of a"
        " document could be predicted; leave window out"
    )


@torch.no_grad()
def slide(
    model: Any, tokenizer: Any, texts: Sequence[str], window: SlidingWindow, batch_size: int, description: str = ""
) -> Slid:
    """Predict every token of documents.

    Args:
        model: causal, returns `.logits` (B, T, V); in eval mode.
        tokenizer: its own.
        texts: documents.
        window: how much is read at once.
        batch_size: windows at once.
        description: the progress bar's label.

    Raises:
        CompressionError: no document has a token.
    """
    begin = begin_of(tokenizer)
    made = [(text, tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in texts]
    kept = [(text, [begin, *ids]) for text, ids in made if ids]
    if not kept:
        raise CompressionError("data: no document has a token to predict; name data with text")
    places = [(row, one) for row, (_, ids) in enumerate(kept) for one in window.windows(len(ids))]
    nll = numpy.zeros(len(kept))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else begin
    batches = [places[at : at + batch_size] for at in range(0, len(places), batch_size)]
    for batch in progress(batches, description, leave=False):
        read = [torch.tensor(kept[row][1][first:last]) for row, (first, last, _) in batch]
        ids = torch.nn.utils.rnn.pad_sequence(read, batch_first=True, padding_value=padding).to(model.device)
        lengths = torch.tensor([len(one) for one in read], device=model.device)
        mask = (torch.arange(ids.shape[1], device=model.device) < lengths[:, None]).long()
        logits = model(input_ids=ids, attention_mask=mask).logits
        for (row, (first, last, done)), own, target in zip(batch, logits, ids, strict=True):
            nll[row] += _nll(own, target, done - first, last - first)
    tokens = numpy.array([len(ids) - 1 for _, ids in kept])
    num_bytes = numpy.array([len(text.encode("utf-8")) for text, _ in kept])
    return Slid(nll=nll, tokens=tokens, num_bytes=num_bytes, begin=tokenizer.convert_ids_to_tokens(begin))


def _nll(logits: Tensor, ids: Tensor, first: int, last: int) -> float:
    """-log p of the tokens at first..last - 1, each by the logits before it, summed."""
    return functional.cross_entropy(logits[first - 1 : last - 1].float(), ids[first:last], reduction="sum").item()
