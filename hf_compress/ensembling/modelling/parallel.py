"""Several models on the same input: their answers become one by a combiner."""

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import (
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import ModelOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.modelling.answering import AnsweringEnsemble
from hf_compress.ensembling.modelling.config import EnsembleConfig
from hf_compress.ensembling.modelling.heads import BY_LABELS, LOSSES

_OUTPUTS = {
    "AutoModelForTokenClassification": TokenClassifierOutput,
    "AutoModelForMaskedLM": MaskedLMOutput,
}


class ParallelConfig(EnsembleConfig):
    """Of a `ParallelEnsemble`.

    Attributes:
        threshold: of causal language models: where the first member is at least so sure of the next token, in [0, 1], it
            alone decides and the others are not asked. None: all are asked about every token.
        confidence: the name of what says how sure it is.
    """

    model_type = "parallel_ensemble"
    threshold: float | None = None
    confidence: str = "maximum_probability"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.members is None:
            return
        Confidence.create(self.confidence)
        if self.threshold is None:
            return
        if self.auto_class != "AutoModelForCausalLM":
            raise CompressionError(
                f"threshold={self.threshold}: members are loaded by {self.auto_class}, and a parallel ensemble leaves"
                " members out in causal language models only; make a Cascade of models that choose a class for a row"
            )
        if not 0 <= self.threshold <= 1:
            raise CompressionError(
                f"threshold={self.threshold}: it must be in [0, 1]; leave it out to ask all members about every token"
            )


class ParallelEnsemble(AnsweringEnsemble):
    """Asks every member and combines their answers; the logits of its output are the combined log-probabilities.

    Where labels exclude each other (classes, tokens, positions), answers are combined as distributions over them. Several
    labels at once are combined one by one, as yes or no, and given back as log-odds; numbers (regression) are averaged with
    the weights, whatever the combiner.

    Source: Hansen, Salamon (1990), Neural Network Ensembles, https://doi.org/10.1109/34.58871.
    """

    config_class = ParallelConfig

    def __init__(self, config: EnsembleConfig, members: Any = None) -> None:
        super().__init__(config, members)
        self.loss_type: Any = LOSSES.get(str(config.auto_class))

    def respond(self, inputs: dict[str, Any], labels: Tensor | None) -> ModelOutput:
        """All members are asked, and their answers combined."""
        logits = self.fused([output.logits for output in self.ask(self.member_inputs(inputs))])
        loss = None if labels is None else self._loss(logits, labels)
        return _OUTPUTS.get(str(self.config.auto_class), SequenceClassifierOutput)(loss=loss, logits=logits)

    def fused(self, logits: list[Tensor]) -> Tensor:
        """One answer of the members', each (..., C); log-probabilities (..., C), log-odds or numbers.

        Raises:
            CompressionError: a member's answer is not a number, and the config does not leave such out.
        """
        rows = torch.stack(
            common_classes([self.ordered(own, k).float() for k, own in enumerate(logits)], self.config.names)
        )
        rows, weights = self.without_nan(rows)
        kind = self.config.problem_type if self.config.auto_class in BY_LABELS else None
        if kind == "regression" or (self.config.auto_class in BY_LABELS and self.config.num_labels == 1):
            return average(rows, weights if weights is not None else self._weights(rows))
        if kind == "multi_label_classification":
            yes = self.combine(torch.stack([rows, torch.zeros_like(rows)], dim=-1), weights)
            return yes[..., 0] - yes[..., 1]
        return self.combine(rows, weights)

    def without_nan(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Members' answers and, where one was left out, the weights of this batch (else None: the config's).

        A compiled or exported graph cannot name a member: there the answer is NaN, or leaves the member out.
        """
        broken = torch.isnan(rows).flatten(1).any(dim=1)
        if rows.is_meta:  # nothing is computed, so there is nothing to look at
            return rows, None
        if torch.compiler.is_compiling():
            return (rows, None) if self.config.on_nan == "refuse" else self._left_out(rows, broken)
        if not broken.any():
            return rows, None
        names = [name for name, wrong in zip(self.config.names, broken.tolist(), strict=True) if wrong]
        if self.config.on_nan == "refuse" or bool(broken.all()):
            raise CompressionError(
                f"member {names[0]!r} answers NaN; mend it, take it out, or let on_nan: leave_out go on without it"
            )
        if not (self._weights(rows) * ~broken).any():
            raise CompressionError(f"member {names[0]!r} answers NaN, and all others have the weight 0")
        return self._left_out(rows, broken)

    def _left_out(self, rows: Tensor, broken: Tensor) -> tuple[Tensor, Tensor]:
        """Answers without those of broken members, and weights in which they count nothing."""
        kept = torch.where(broken.view(-1, *[1] * (rows.dim() - 1)), torch.zeros_like(rows), rows)
        return kept, self._weights(rows) * ~broken

    def _weights(self, rows: Tensor) -> Tensor:
        """The config's weights, (M,)."""
        given = self.config.weights
        return torch.ones(len(rows), device=rows.device) if given is None else torch.tensor(given, device=rows.device)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.loss_type is None:
            raise CompressionError(f"an ensemble for {self.config.auto_class} computes no loss; leave labels out")
        labels = labels.to(logits.device)
        if self.config.auto_class not in BY_LABELS:
            return self.loss_function(logits, labels, vocab_size=logits.shape[-1])  # type: ignore[no-any-return]
        pooled = {"pooled_logits": logits} if self.loss_type == "ForSequenceClassification" else {"logits": logits}
        return self.loss_function(labels=labels, config=self.config, **pooled)  # type: ignore[no-any-return]


def common_classes(logits: list[Tensor], names: list[str]) -> list[Tensor]:
    """Logits cut to the classes that all have: vocabularies of one tokenizer are padded to different sizes.

    Raises:
        CompressionError: shapes differ in more than that.
    """
    for name, own in zip(names, logits, strict=True):
        if own.shape[:-1] != logits[0].shape[:-1]:
            raise CompressionError(
                f"member {name!r} answers in the shape {tuple(own.shape)}, member {names[0]!r} in {tuple(logits[0].shape)}"
            )
    least = min(own.shape[-1] for own in logits)
    return [own[..., :least] for own in logits]


def average(rows: Tensor, weights: Tensor) -> Tensor:
    """sum_m w_m x_m / sum_m w_m of (M, ...)."""
    share = (weights / weights.sum()).view(-1, *[1] * (rows.dim() - 1))
    return (share * rows).sum(dim=0)
