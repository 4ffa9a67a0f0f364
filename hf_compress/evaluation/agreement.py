"""Two models' logits, side by side: how likely what is right is, and how far they are from one another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._progress import progress
from hf_compress.distillation.answers import logits_of
from hf_compress.distillation.losses.forward_kl import ForwardKL
from hf_compress.distillation.signal import Rows
from hf_compress.evaluation.bootstrap import Summed
from hf_compress.evaluation.likelihoods import PERPLEXITY, likelihoods
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.heads import base_model
from hf_compress.tasks.metrics.sums import share
from hf_compress.tasks.row_kind import RowKind, TaskRows
from hf_compress.tasks.task_loss import task_kind

_DIVERGENCE = ForwardKL()


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Sums over the rows of logits of every example, (N,) each; a row is what the task's kind says: a token, a class, ...

    Attributes:
        loss: nll, or mse for numbers: the name of what the losses are.
        losses: of each model; empty where the loss of the head is none of its rows (CTC).
        items: rows that count.
        divergence: KL(baseline || model) in nats; None without a baseline, and where rows are no distributions.
        alike: decisions that both make alike; None without a baseline.
        decisions: how many were compared.
    """

    loss: str
    losses: tuple[ndarray, ...]
    items: ndarray
    divergence: ndarray | None = None
    alike: ndarray | None = None
    decisions: ndarray | None = None

    def likelihoods(self, keys: Iterable[str]) -> list[Summed]:
        """Of each model the mean loss, and the perplexity where it is measured.

        Args:
            keys: what the task measures.
        """
        wanted = [key for key in (self.loss, PERPLEXITY) if key in keys]
        return [likelihoods(loss, self.items, wanted, self.loss) for loss in self.losses if wanted]

    def closeness(self) -> Summed | None:
        """The share of decisions that are alike, and the mean divergence of a row; None where there is neither."""
        columns: dict[str, tuple[ndarray, ndarray]] = {}
        if self.alike is not None and self.decisions is not None and self.decisions.sum() > 0:
            columns["agreement"] = (self.alike, self.decisions)
        if self.divergence is not None:
            columns["kl_divergence"] = (self.divergence, self.items)
        if not columns:
            return None
        statistics = numpy.stack([part for pair in columns.values() for part in pair], axis=1)

        def of_sums(sums: ndarray) -> dict[str, ndarray]:
            return {key: share(sums[:, 2 * at], sums[:, 2 * at + 1]) for at, key in enumerate(columns)}

        return Summed(statistics, of_sums)


@torch.no_grad()
def side_by_side(models: Sequence[Any], batches: Iterable[Sequence[Mapping[str, Any]]], description: str) -> SideBySide:
    """Run the models over the same examples.

    Of two vocabularies of which one is padded further, the entries that both have are compared.

    Args:
        models: in eval mode; of two the first is the baseline.
        batches: one for each model, of the same examples.
        description: the progress bar's label.

    Raises:
        CompressionError: the models cut the examples into other rows.
    """
    found: list[list[float]] = []
    loss, has_labels, has_divergence = "nll", True, True
    for parts in progress(batches, description, leave=False):
        kinds = [task_kind(model, batch.get("labels")) for model, batch in zip(models, parts, strict=True)]
        rows = [_rows(model, batch, kind) for model, batch, kind in zip(models, parts, kinds, strict=True)]
        kind, size = kinds[0], len(parts[0][kinds[0].targets[0]])
        if any(not torch.equal(one.keep.cpu(), rows[0].keep.cpu()) for one in rows[1:]):
            raise CompressionError(
                "against: it cuts the same examples into other rows of logits than the model, so the two have nothing to be"
                " compared by; measure each alone"
            )
        loss = "mse" if kind.name == "regression" else "nll"
        has_labels, has_divergence = rows[0].labels is not None, kind.name in _DIVERGENCE.kinds
        length = len(rows[0].keep) // size
        for example in range(size):
            found.append(_example(rows, kind, slice(example * length, (example + 1) * length)))
    columns = numpy.array(found, dtype=numpy.float64).T
    losses = tuple(columns[1 : 1 + len(models)]) if has_labels else ()
    if len(models) == 1:
        return SideBySide(loss=loss, losses=losses, items=columns[0])
    alike, decisions, divergence = columns[-3:]
    return SideBySide(
        loss=loss,
        losses=losses,
        items=columns[0],
        divergence=divergence if has_divergence else None,
        alike=alike,
        decisions=decisions,
    )


def _rows(model: Any, batch: Mapping[str, Any], kind: RowKind) -> TaskRows:
    """The forward pass of a batch, cut into rows; the head sees labels only where it makes inputs of them, or is heard."""
    own = base_model(model)
    inputs = {name: value for name, value in model_inputs(batch, model).items() if name not in kind.targets}
    targets = on_device({name: batch[name] for name in kind.targets}, next(model.parameters()).device)
    with kind.listening(own) as heard:
        given = targets if kind.listens or getattr(own.config, "is_encoder_decoder", False) else {}
        outputs = model(**inputs, **given)
    facts = {**inputs, **heard}
    return kind.rows(kind.prepared(logits_of(outputs, type(own).__name__), facts), targets, facts)


def _example(rows: Sequence[TaskRows], kind: RowKind, place: slice) -> list[float]:
    """Rows that count, the loss of each model; with a baseline also decisions alike, decisions, divergence."""
    keep = rows[0].keep[place]
    logits = [one.logits[place][keep.to(one.logits.device)].float().cpu() for one in rows]
    labels = [None if one.labels is None else one.labels[place][keep.to(one.labels.device)].cpu() for one in rows]
    losses = [0.0 if right is None else float(kind.loss_sum(own, right)) for own, right in zip(logits, labels, strict=True)]
    found = [float(keep.sum()), *losses]
    return found if len(rows) == 1 else [*found, *_closeness(kind, *_common(logits[-1], logits[0]))]


def _common(model: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
    width = min(model.shape[-1], baseline.shape[-1])
    return model[:, :width], baseline[:, :width]


def _closeness(kind: RowKind, model: Tensor, baseline: Tensor) -> tuple[float, float, float]:
    if not len(model):
        return 0.0, 0.0, 0.0
    alike, decisions = kind.agreement(model, baseline, 1)
    name: Any = kind.name  # one of `Kind`
    divergence = 0.0
    if name in _DIVERGENCE.kinds:
        every = torch.ones(len(model), dtype=torch.bool)
        divergence = float(_DIVERGENCE(model, Rows(logits=baseline, kind=name), every))
    return float(alike), float(decisions), divergence
