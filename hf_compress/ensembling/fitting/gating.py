"""A small network that says, row by row, whom to listen to."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities
from hf_compress.ensembling.fitting.weights import fit_weights
from hf_compress.ensembling.labelled_rows import checked, mean_nll
from hf_compress.ensembling.modelling.gate import Gate

LEAST = 1e-3
"""A member's weight at the beginning, at least: of one that begins with 0 nothing would be learned."""


@dataclass(frozen=True, kw_only=True)
class FittedGate:
    """A gate, and what it is worth on the rows that were held out of its training; log-losses are mean nats per row.

    Attributes:
        gate: in evaluation mode, on the CPU, in fp32.
        nll_held_out: with the gate.
        nll_held_out_fixed: with the weights that the gate began with, the same for all rows.
        num_held_out: rows.
        steps: optimizer steps after which the gate was best; 0 = it stayed at the weights that it began with.
    """

    gate: Gate
    nll_held_out: float
    nll_held_out_fixed: float
    num_held_out: int
    steps: int


def rows_held_out(held_out: float, num_rows: int) -> int:
    """How many rows a share of them is.

    Raises:
        CompressionError: none, or all.
    """
    number = round(held_out * num_rows) if 0 < held_out < 1 else 0
    if not 0 < number < num_rows:
        raise CompressionError(
            f"held_out={held_out!r} of {num_rows} rows leaves one side empty; give another share, or more rows"
        )
    return number


def fit_gate(
    logits: Tensor,
    labels: Tensor,
    combiner: Combiner | None = None,
    *,
    hidden: int | None = None,
    held_out: float = 0.2,
    learning_rate: float = 0.01,
    weight_decay: float = 0.01,
    steps: int = 1000,
    patience: int = 50,
    seed: int = 0,
) -> FittedGate:
    """Train a gate on the mean of -log p[label], p = combiner(members, gate(members)), by AdamW on all rows at once.

    It begins with the weights that `fit_weights` finds for the rows that it is trained on, at least `LEAST` each, and ends
    where rows that are held out are best: so on those it is never worse than weights that are the same for all rows.

    Args:
        logits: (M, N, C), of rows that no member was trained on.
        labels: (N,) classes.
        combiner: None = `MeanProbabilities()`.
        hidden: width of a hidden layer; None = none.
        held_out: share of the rows that training does not see, in (0, 1).
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        steps: at most.
        patience: steps without a better log-loss on the held-out rows after which it ends.
        seed: of the rows that are held out and of the hidden layer.

    Raises:
        CompressionError: logits, labels or a number cannot be used, or the combiner's result moves in jumps as weights do.

    Source: Jacobs, Jordan, Nowlan, Hinton 1991, with experts that are trained already.
    """
    logits, labels = checked(logits, labels)
    num_rows = len(labels)
    num_held_out = rows_held_out(held_out, num_rows)
    if steps < 1 or patience < 1:
        raise CompressionError(f"steps={steps} and patience={patience} must be 1 or more")
    combined = combiner or MeanProbabilities()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_rows, generator=generator)
    seen, unseen = order[num_held_out:], order[:num_held_out]
    gate = Gate(len(logits), logits.shape[-1], hidden, generator)
    logits = logits.float()
    x = gate.features(logits[:, seen])
    gate.mean.copy_(x.mean(0))
    gate.deviation.copy_(x.std(0, unbiased=False).clamp_min(1e-6))

    def loss(rows: Tensor) -> Tensor:
        return mean_nll(combined.combine(logits[:, rows], gate(logits[:, rows])), labels[rows])

    fixed = torch.tensor(fit_weights(logits[:, seen], labels[seen], combined).weights)
    with torch.no_grad():
        gate.outer.bias.copy_(fixed.clamp_min(LEAST).log())
    optimizer = torch.optim.AdamW(gate.parameters(), lr=learning_rate, weight_decay=weight_decay)
    begun = best = float(loss(unseen).detach())
    kept, at = copy.deepcopy(gate.state_dict()), 0
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(seen).backward()
        optimizer.step()
        with torch.no_grad():
            now = float(loss(unseen))
        if now < best:
            best, kept, at = now, copy.deepcopy(gate.state_dict()), step
        if step - at >= patience:
            break
    gate.load_state_dict(kept)
    return FittedGate(gate=gate.eval(), nll_held_out=best, nll_held_out_fixed=begun, num_held_out=num_held_out, steps=at)
