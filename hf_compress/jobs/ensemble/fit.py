"""What is learned of the members' answers to the validation rows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError, problems_of
from hf_compress.ensembling.fitting.temperature import fit_temperatures
from hf_compress.ensembling.fitting.weights import fit_weights
from hf_compress.ensembling.fusion import Fused, Said
from hf_compress.ensembling.member_costs import MemberCosts
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.asked import Asked, has_classes
from hf_compress.jobs.ensemble.token_weights import fit_token_weights, without_a_say

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Numbers of the members, given or learned.

    Attributes:
        weights: with sum 1; None where all count the same.
        temperatures: None where all are 1.
        fused: what the fusion learned, or was told.
        learned: what was learned, in the order in which it was done.
        notes: what that is worth on the validation rows, a sentence each.
    """

    weights: tuple[float, ...] | None = None
    temperatures: tuple[float, ...] | None = None
    fused: Fused = field(default_factory=Fused)
    learned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def in_order(asked: Sequence[Asked], members: Sequence[OpenedMember]) -> Tensor:
    """Members' logits (M, N, C), classes in the first member's order."""
    rows = [
        one.logits if member.order is None else one.logits[:, member.order]  # type: ignore[index]
        for one, member in zip(asked, members, strict=True)
    ]
    return torch.stack(rows)  # type: ignore[arg-type]


def warmed(logits: Tensor, temperatures: Sequence[float] | None) -> Tensor:
    """Members' logits (M, N, C), divided by their temperatures."""
    return logits if temperatures is None else logits / torch.tensor(temperatures).reshape(-1, 1, 1)


def together(logits: Tensor, job: Any, fitted: Fitted) -> Tensor:
    """What the ensemble says: (M, N, C) -> (N, C) log-probabilities."""
    weights = None if fitted.weights is None else torch.tensor(fitted.weights)
    answer: Tensor = job.fusion.answer(fitted.fused, warmed(logits, fitted.temperatures), job.combiner, weights)
    return answer


def refuse_nan(asked: Sequence[Asked], members: Sequence[OpenedMember], split: str, why: str) -> None:
    """Refuse members whose answers are not numbers, by their names.

    Raises:
        CompressionError: with all of them.
    """
    said = []
    for number, (one, member) in enumerate(zip(asked, members, strict=True)):
        broken = one.num_nan
        if broken:
            said.append(
                f"members.{number}.model: {member.name!r} answers NaN to {broken} of {one.num_rows} rows of the"
                f" {split} split{why}; mend it, or take it out"
            )
    if said:
        raise CompressionError("\n".join(said))


def fit_members(job: Any, asked: Sequence[Asked], members: Sequence[OpenedMember], costs: MemberCosts | None) -> Fitted:
    """Temperatures, then weights or what the fusion learns, as far as they are asked for.

    Args:
        job: the recipe.
        asked: the members' answers to the validation rows; empty without data.
        members: in the same order.
        costs: of a row in each member; None where nobody knows.

    Raises:
        CompressionError: answers that nothing can be learned of.
    """
    given = tuple(member.weight for member in job.members)
    weights = None if len(set(given)) == 1 else tuple(weight / sum(given) for weight in given)
    if not asked:
        return Fitted(weights=weights, fused=job.fusion.given(None if costs is None else costs.each))
    if job.fit.asked or job.fusion.learns:
        refuse_nan(asked, members, "validation", ", and nothing can be fitted to that")
    if not has_classes(job.task):
        made = fit_token_weights(asked, [member.name for member in members]) if job.fit.weights else {}
        return _said(Fitted(**{"weights": weights, **made}))
    if any(one.num_nan for one in asked):
        return Fitted(weights=weights, fused=job.fusion.given(None if costs is None else costs.each))
    logits, labels = in_order(asked, members), asked[0].labels
    assert labels is not None
    learned: list[str] = []
    notes: list[str] = []
    temperatures: Any = None
    if job.fit.temperatures:
        warm = fit_temperatures(logits, labels)
        temperatures = warm.temperatures
        logits = warmed(logits, temperatures)
        learned.append("temperatures")
        changes = ", ".join(
            f"{member.name} {before:.4f} -> {after:.4f}"
            for member, before, after in zip(members, warm.nll_before, warm.nll_after, strict=True)
        )
        notes.append(f"Temperatures fitted on validation, the members' log-loss there: {changes}.")
        notes += [
            f"The temperature of {members[place].name} is {temperatures[place]:g}, which is the limit: "
            + (
                "its logits say nothing of the labels there."
                if temperatures[place] > 1
                else "it is right on all rows there."
            )
            for place in warm.at_limit
        ]
    if job.fit.weights:
        found = fit_weights(logits, labels, job.combiner)
        weights = found.weights
        learned.append("weights")
        notes.append(
            f"Weights fitted on validation, the ensemble's log-loss there: {found.nll:.4f}, with equal weights"
            f" {found.nll_equal:.4f}."
        )
        notes += without_a_say([member.name for member in members], weights)
    said = Said(
        logits=logits,
        labels=labels,
        names=tuple(member.name for member in members),
        combiner=job.combiner,
        costs=costs,
        seed=job.seed,
    )
    try:
        fused = job.fusion.fit(said)
    except CompressionError as error:
        refused = [replace(one, path=f"fusion.{one.path}".rstrip(".")) for one in problems_of(error)]
        raise RecipeError(refused) from error
    return _said(
        Fitted(
            weights=weights,
            temperatures=temperatures,
            fused=fused,
            learned=(*learned, *fused.learned),
            notes=(*notes, *fused.notes),
        )
    )


def _said(fitted: Fitted) -> Fitted:
    """The same; its notes go to the log too."""
    for note in fitted.notes:
        logger.info("%s", note)
    return fitted
