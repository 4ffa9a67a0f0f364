"""Perplexity of a language model, and the likelihood of other models' tokens."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.row_kind import IGNORED


class Likelihood:
    """The negative log-likelihood of tokens, batch by batch.

    Args:
        shifted: position t predicts label t + 1; False: label t.

    Attributes:
        total: in nats.
        num_tokens: predicted so far.
        rows: for each sequence its part of both.
    """

    def __init__(self, shifted: bool = True) -> None:
        self.total, self.num_tokens, self.shifted = 0.0, 0, shifted
        self.rows: list[tuple[float, int]] = []

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (B, T, V).
            labels: (B, T), -100 = not counted.
        """
        labels = labels.to(logits.device)
        if self.shifted:
            logits, labels = logits[:, :-1], labels[:, 1:]
        # Per sequence, so that the fp32 copy is (T, V) and not (B, T, V).
        counts = (labels != IGNORED).sum(-1).tolist()
        for row, target, count in zip(logits, labels, counts, strict=True):
            nll = functional.cross_entropy(row.float(), target, reduction="sum").item()
            self.total += nll
            self.rows.append((nll, count))
        self.num_tokens += sum(counts)

    def tell(self, metrics: Sequence[Metric]) -> None:
        """Ask metrics about the sequences that have a token: of each its nll, and how many tokens that is of."""
        rows = [row for row in self.rows if row[1]]
        for metric in metrics:
            metric.compute([nll for nll, _ in rows], [count for _, count in rows])

    def metrics(self) -> dict[str, float]:
        """perplexity; nll in nats per token; num_tokens.

        Raises:
            CompressionError: no token was predicted.
        """
        if self.num_tokens == 0:
            raise CompressionError("the evaluation split predicts no token; it is empty or shorter than two tokens")
        nll = self.total / self.num_tokens
        return {"perplexity": math.exp(min(nll, 700.0)), "nll": nll, "num_tokens": self.num_tokens}


@torch.no_grad()
def perplexity(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    description: str = "perplexity",
    shifted: bool = True,
    metrics: Sequence[Metric] = (),
) -> dict[str, float]:
    """The exponential of the mean negative log-likelihood per predicted token.

    Args:
        model: returns `.logits` (B, T, V); put into eval mode.
        batches: each with input_ids (B, T) and labels (B, T), -100 = not counted.
        description: the progress bar's label.
        shifted: position t predicts label t + 1, as in causal models; False: label t, as in masked ones.
        metrics: that keep rows and give no number; see `Likelihood.tell`.

    Returns:
        See `Likelihood.metrics`.

    Raises:
        CompressionError: no token is predicted, or a batch has no labels.
    """
    model.eval()
    likelihood = Likelihood(shifted)
    for batch in progress(batches, description, leave=False):
        if "labels" not in batch:
            raise CompressionError(
                f"a batch of the {description} has no labels ({', '.join(batch)}); give the examples a column 'labels', or"
                " pass a collator that makes it"
            )
        likelihood.add(model(**model_inputs(batch, model)).logits, batch["labels"])
    found = likelihood.metrics()
    likelihood.tell(metrics)
    return found


@torch.no_grad()
def likelihood_of_labels(model: nn.Module, batches: Iterable[Mapping[str, Tensor]], description: str) -> dict[str, float]:
    """The negative log-likelihood of labels that stand at the place of their logits.

    Args:
        model: takes labels and returns `.logits` (B, T, V); put into eval mode.
        batches: each with labels (B, T), -100 = not counted.
        description: the progress bar's label.

    Returns:
        nll in nats per token.

    Raises:
        CompressionError: there is no token.
    """
    model.eval()
    likelihood, device = Likelihood(shifted=False), next(model.parameters()).device
    for batch in progress(batches, description, leave=False):
        labels = batch["labels"].to(device)
        likelihood.add(model(**model_inputs(batch, model), labels=labels).logits, labels)
    return {"nll": likelihood.metrics()["nll"]}
