"""Weights of language models, from what each of them gave every token that came."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.fitting.weights import IDLE, mixture_weights
from hf_compress.evaluation.asked import Asked

_NO_WORSE = 1e-6
"""Nats per token that leaving idle members out may cost."""


def fit_token_weights(asked: Sequence[Asked], names: Sequence[str]) -> dict[str, Any]:
    """The weights of the mixture of members' probabilities that makes the tokens that came likeliest.

    Args:
        asked: the members' answers to the validation rows, with `likelihoods`.
        names: of the members.

    Returns:
        weights, what was learned, and notes with the perplexity before and after.

    Raises:
        CompressionError: the members were asked about other tokens, or nothing can be learned of them.
    """
    each = [one.likelihoods for one in asked]
    counts = [0 if own is None else len(own) for own in each]
    if len(set(counts)) > 1 or not counts[0]:
        listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
        raise CompressionError(f"fit.weights: members answer for other numbers of tokens of the validation rows ({listed})")
    logs = torch.stack([own for own in each if own is not None]).double()
    found, _ = mixture_weights(logs)
    busy = found.masked_fill(found < IDLE, 0.0)
    busy = busy / busy.sum()
    found = busy if _nll(logs, busy) <= _nll(logs, found) + _NO_WORSE else found
    equal = torch.full_like(found, 1 / len(found))
    before, after = (float(torch.tensor(_nll(logs, weights)).exp()) for weights in (equal, found))
    listed = ", ".join(f"{name} {weight:.4f}" for name, weight in zip(names, found.tolist(), strict=True))
    note = (
        f"Weights fitted on {counts[0]:,} tokens of validation ({listed}), the ensemble's perplexity there: {after:.4f},"
        f" with equal weights {before:.4f}."
    )
    weights = tuple(found.tolist())
    return {"weights": weights, "learned": ("weights",), "notes": (note, *without_a_say(names, weights))}


def without_a_say(names: Sequence[str], weights: Sequence[float]) -> list[str]:
    """A sentence about members of weight 0; empty without any."""
    idle = [name for name, weight in zip(names, weights, strict=True) if weight == 0]
    return [f"Without a say (weight 0), and still asked: {', '.join(idle)}."] if idle else []


def _nll(logs: Tensor, weights: Tensor) -> float:
    return -float(torch.logsumexp(logs + weights.log().unsqueeze(-1), 0).mean())
