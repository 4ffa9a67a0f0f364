"""What is learned of the members' answers to the validation rows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.configuration import EnsembleFit
from hf_compress.ensembling.fitting.temperature import fit_temperatures
from hf_compress.ensembling.fitting.weights import fit_weights
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.asked import Asked

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Numbers of the members, given or learned.

    Attributes:
        weights: with sum 1; None where all count the same.
        temperatures: None where all are 1.
        learned: which of both were, in the order in which it was done.
        notes: what that is worth on the validation rows, a sentence each.
    """

    weights: tuple[float, ...] | None
    temperatures: tuple[float, ...] | None = None
    learned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def in_order(asked: Sequence[Asked], members: Sequence[OpenedMember]) -> Tensor:
    """Members' logits (M, N, C), classes in the first member's order."""
    rows = [
        one.logits if member.order is None else one.logits[:, member.order]  # type: ignore[index]
        for one, member in zip(asked, members, strict=True)
    ]
    return torch.stack(rows)  # type: ignore[arg-type]


def together(logits: Tensor, combiner: Combiner, fitted: Fitted) -> Tensor:
    """What the ensemble says: (M, N, C) -> (N, C) log-probabilities."""
    if fitted.temperatures is not None:
        logits = logits / torch.tensor(fitted.temperatures).reshape(-1, 1, 1)
    return combiner.combine(logits, None if fitted.weights is None else torch.tensor(fitted.weights))


def refuse_nan(asked: Sequence[Asked], members: Sequence[OpenedMember], split: str, why: str) -> None:
    """Refuse members whose answers are not numbers, by their names.

    Raises:
        CompressionError: with all of them.
    """
    said = []
    for number, (one, member) in enumerate(zip(asked, members, strict=True)):
        broken = 0 if one.logits is None else int(one.logits.isnan().any(-1).sum())
        num_rows = one.metrics.get("num_examples")
        if broken:
            said.append(
                f"members.{number}.model: {member.name!r} answers NaN to {broken} of {num_rows} rows of the"
                f" {split} split{why}; mend it, or take it out"
            )
    if said:
        raise CompressionError("\n".join(said))


def fit_members(
    fit: EnsembleFit,
    combiner: Combiner,
    given: tuple[float, ...] | None,
    asked: Sequence[Asked],
    members: Sequence[OpenedMember],
) -> Fitted:
    """Temperatures, then weights, as far as they are asked for.

    Args:
        fit: what is to be learned.
        combiner: whose log-loss the weights make small.
        given: weights of the recipe.
        asked: the members' answers to the validation rows.
        members: in the same order.

    Raises:
        CompressionError: answers that nothing can be learned of.
    """
    if not fit.asked:
        return Fitted(weights=given)
    refuse_nan(asked, members, "validation", ", and nothing can be fitted to that")
    logits, labels = in_order(asked, members), asked[0].labels
    assert labels is not None
    learned: list[str] = []
    notes: list[str] = []
    temperatures: Any = None
    weights = given
    if fit.temperatures:
        warm = fit_temperatures(logits, labels)
        temperatures = warm.temperatures
        logits = logits / torch.tensor(temperatures).reshape(-1, 1, 1)
        learned.append("temperatures")
        changes = ", ".join(
            f"{member.name} {before:.4f} -> {after:.4f}"
            for member, before, after in zip(members, warm.nll_before, warm.nll_after, strict=True)
        )
        notes.append(f"Temperatures fitted on validation, the members' log-loss there: {changes}.")
    if fit.weights:
        found = fit_weights(logits, labels, combiner)
        weights = found.weights
        learned.append("weights")
        notes.append(
            f"Weights fitted on validation, the ensemble's log-loss there: {found.nll:.4f}, with equal weights"
            f" {found.nll_equal:.4f}."
        )
        idle = [member.name for member, weight in zip(members, weights, strict=True) if weight == 0]
        notes += [f"Without a say (weight 0), and still asked: {', '.join(idle)}."] if idle else []
    for note in notes:
        logger.info("%s", note)
    return Fitted(weights=weights, temperatures=temperatures, learned=tuple(learned), notes=tuple(notes))
