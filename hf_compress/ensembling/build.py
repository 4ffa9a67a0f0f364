"""Ensembles that learn from validation data, made of members and what the members say of labelled rows."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress.ensembling.combiner import Combiner, log_probabilities
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.fitting.cascade import NEVER, CascadeResult
from hf_compress.ensembling.fitting.gating import FittedGate, fit_gate
from hf_compress.ensembling.fitting.stacking import FittedStacking, fit_stacking
from hf_compress.ensembling.fitting.thresholds import choose_thresholds
from hf_compress.ensembling.labelled_rows import at_labels, checked
from hf_compress.ensembling.modelling.classifier import WHOLE_ROWS
from hf_compress.ensembling.modelling.models import Cascade, Gating, Stacking

logger = logging.getLogger(__name__)


def member_logits(ensemble: Any, batches: Iterable[Mapping[str, Any]]) -> tuple[Tensor, Tensor | None]:
    """What each member of an ensemble says of rows, as fitting reads it.

    Args:
        ensemble: of members that choose a class for a row, of any kind: all members are asked about all rows.
        batches: inputs of `ensemble.forward`, with "labels" in all batches or in none.

    Returns:
        Logits (M, N, C) in fp32 on the CPU, not divided by temperatures, in the ensemble's order of labels; labels (N,),
        None where none were given.

    Raises:
        CompressionError: the members answer something else, or there are no batches.
    """
    if ensemble.config.auto_class not in WHOLE_ROWS:
        raise CompressionError(
            f"members are loaded by {ensemble.config.auto_class}; this is for those that choose a class for a whole row"
        )
    logits, labels = [], []
    with torch.no_grad(), evaluating_without_gradients(ensemble):
        for batch in batches:
            inputs = dict(batch)
            labels.append(inputs.pop("labels", None))
            said = [
                ensemble.ordered(member(**own).logits, place).float().cpu()
                for place, (member, own) in enumerate(zip(ensemble.members, ensemble.member_inputs(inputs), strict=True))
            ]
            logits.append(torch.stack(said))
    if not logits:
        raise CompressionError("no batches, so the members say nothing; give at least one")
    given = [own.cpu() for own in labels if own is not None]
    if 0 < len(given) < len(labels):
        raise CompressionError(f"{len(given)} of {len(labels)} batches have labels; give all of them labels, or none")
    return torch.cat(logits, 1), torch.cat(given) if given else None


def build_cascade(
    members: Sequence[Any],
    logits: Tensor,
    labels: Tensor,
    *,
    costs: Sequence[float],
    least_quality: float | None = None,
    most_cost: float | None = None,
    quality: Literal["accuracy", "log_likelihood"] = "accuracy",
    confidence: str | Confidence | Sequence[Confidence] = "maximum_probability",
    temperatures: Sequence[float] | None = None,
    **options: Any,
) -> tuple[Cascade, CascadeResult]:
    """A cascade with the thresholds that are cheapest at a quality, or best at a cost, on validation data.

    Args:
        members: from cheap to dear, as `Cascade.from_members` takes them.
        logits: (M, N, C) as `member_logits` gives them, of rows that no member was trained on.
        labels: (N,) classes.
        costs: of a row in each member, in one unit.
        least_quality: mean over the rows, with the least cost.
        most_cost: mean over the rows, with the best quality. One of the two is given.
        quality: the share of right answers, or the mean log-probability of the label.
        confidence: what says how sure an answer is, by its name, as it is, or one for each member but the last.
        temperatures: of the members.
        **options: of `Cascade.from_members`.

    Raises:
        CompressionError: logits, labels or limits cannot be used, or members do not go together.
    """
    rows, labels = _divided(logits, labels, temperatures)
    distributions = log_probabilities(rows)
    good = distributions.argmax(-1) == labels if quality == "accuracy" else at_labels(distributions, labels)
    scores = stage_scores(distributions, confidence)
    found = choose_thresholds(scores, good, costs, least_quality=least_quality, most_cost=most_cost)
    made = Cascade.from_members(
        members,
        thresholds=list(found.thresholds),
        confidence=confidence,
        costs=list(costs),
        temperatures=_listed(temperatures),
        **options,
    )
    for name, threshold in zip(made.config.names, found.thresholds, strict=False):
        if threshold == NEVER:
            logger.warning("member %r answers no row, and every row that reaches it pays for it; leave it out", name)
    return made, found


def stage_scores(distributions: Tensor, confidence: str | Confidence | Sequence[Confidence]) -> Tensor:
    """How sure every stage but the last is: log-probabilities (M, N, C) -> (M - 1, N).

    Args:
        distributions: of the members.
        confidence: one for all stages, or one for each of them.

    Raises:
        CompressionError: the name is unknown, or there is not one for each.
    """
    num_stages = len(distributions) - 1
    one = Confidence.create(confidence) if isinstance(confidence, str) else confidence
    each = [one] * num_stages if isinstance(one, Confidence) else list(one)
    if len(each) != num_stages:
        raise CompressionError(
            f"{len(each)} confidences for {num_stages + 1} members; give one, or one for each but the last"
        )
    return torch.stack([own.score(rows) for own, rows in zip(each, distributions, strict=False)])


def build_stacking(
    members: Sequence[Any],
    logits: Tensor,
    labels: Tensor,
    *,
    strength: float = 0.03,
    folds: Tensor | None = None,
    temperatures: Sequence[float] | None = None,
    **options: Any,
) -> tuple[Stacking, FittedStacking]:
    """A stacking ensemble with the classifier that `fit_stacking` learns.

    Args:
        members: as `Stacking.from_members` takes them.
        logits: (M, N, C) as `member_logits` gives them, of rows that no member was trained on.
        labels: (N,) classes, every class at least once.
        strength: of the penalty.
        folds: (N,) to measure with.
        temperatures: of the members.
        **options: of `Stacking.from_members`.

    Raises:
        CompressionError: logits, labels or numbers cannot be used, or members do not go together.
    """
    rows, labels = _divided(logits, labels, temperatures)
    found = fit_stacking(rows, labels, strength=strength, folds=folds)
    made = Stacking.from_members(
        members, weight=found.weight, bias=found.bias, temperatures=_listed(temperatures), **options
    )
    return made, found


def build_gating(
    members: Sequence[Any],
    logits: Tensor,
    labels: Tensor,
    *,
    combiner: Combiner | None = None,
    temperatures: Sequence[float] | None = None,
    fitting: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Gating, FittedGate]:
    """A gating ensemble with the gate that `fit_gate` learns.

    Args:
        members: as `Gating.from_members` takes them.
        logits: (M, N, C) as `member_logits` gives them, of rows that no member was trained on.
        labels: (N,) classes.
        combiner: None = `MeanProbabilities()`.
        temperatures: of the members.
        fitting: further arguments of `fit_gate`, such as hidden, steps and seed.
        **options: of `Gating.from_members`.

    Raises:
        CompressionError: logits, labels or numbers cannot be used, or members do not go together.
    """
    rows, labels = _divided(logits, labels, temperatures)
    found = fit_gate(rows, labels, combiner, **(fitting or {}))
    made = Gating.from_members(
        members,
        gate=found.gate,
        combiner=combiner or "mean_probabilities",
        temperatures=_listed(temperatures),
        **options,
    )
    return made, found


def _divided(logits: Tensor, labels: Tensor, temperatures: Sequence[float] | None) -> tuple[Tensor, Tensor]:
    """Logits as the ensemble will read them, and labels, both found to be good."""
    logits, labels = checked(logits, labels)
    if temperatures is None:
        return logits.float(), labels
    if len(temperatures) != len(logits):
        raise CompressionError(f"temperatures has {len(temperatures)} entries for {len(logits)} members; give one each")
    return logits.float() / torch.tensor(list(temperatures)).view(-1, 1, 1), labels


def _listed(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]
