"""Likelihoods of a model whose tokens are other ones than those of the models that it is compared with."""

import math
from dataclasses import dataclass, replace
from typing import Any

from hf_compress.evaluation.likelihoods import PERPLEXITY
from hf_compress.evaluation.rows import Row
from hf_compress.tasks.opened import Opened

_NLL, _COUNT = "nll", "num_tokens"


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Tokens whose likelihoods add up to that of the same rows.

    Attributes:
        own: by the model's own tokenizer; None of a task whose likelihoods do not add up so.
        others: by the one that the others are measured with.
    """

    own: int | None
    others: int | None

    @classmethod
    def of(cls, own: Opened, other: Opened, split: str = "test") -> "TokenCounts":
        """Count them.

        Args:
            own: inputs with the model's own tokenizer.
            other: the same rows with the other one.
            split: whose rows.
        """
        counts = (one.task.likelihood_tokens(one.raw[split], one.processor) for one in (own, other))
        return cls(own=next(counts), others=next(counts))

    def per_other_token(self, row: Row) -> Row:
        """The row with nll and perplexity per token of the others: their sum over the rows is the same.

            nll = nll of own tokens * own / others          perplexity = exp(nll)          num_tokens * others / own

        Bounds of intervals are changed alike.

        Args:
            row: measured with the model's own tokenizer.
        """
        if not self.own or not self.others:
            return row
        share = self.own / self.others
        changes = {_NLL: lambda nll: nll * share, PERPLEXITY: lambda value: _power(value, share)}
        metrics: dict[str, Any] = dict(row.metrics)
        intervals: dict[str, Any] = dict(row.intervals)
        for key, change in changes.items():
            if key in metrics:
                metrics[key] = change(metrics[key])
            if key in intervals:
                intervals[key] = tuple(map(change, intervals[key]))
        if _COUNT in metrics:
            metrics[_COUNT] = round(metrics[_COUNT] / share)
        return replace(row, metrics=metrics, intervals=intervals)

    def note(self, row: Row) -> str:
        """What the row's numbers are.

        Args:
            row: as it was measured, with its own tokens.
        """
        said = f"{row.name} was measured with its own vocabulary"
        key = next((key for key in (PERPLEXITY, _NLL) if key in row.metrics), None)
        if self.own and self.others and key is not None:
            return (
                f"{said}, by which the test rows are {self.own:,} tokens; by the smaller one they are {self.others:,}. Its"
                f" {key} is given per token of these, and is {row.metrics[key]:.4g} per token of its own."
            )
        if PERPLEXITY in row.metrics:
            return (
                f"{said}: its {PERPLEXITY} is one of other tokens than those below, as far as the two write the rows apart."
            )
        return f"{said}, the rows below it with the smaller one."


def _power(value: float, share: float) -> float:
    return math.exp(min(math.log(value) * share, 700.0))
