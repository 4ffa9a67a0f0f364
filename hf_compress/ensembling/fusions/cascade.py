"""Members are asked from cheap to dear, each about the rows that no earlier one was sure of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference, dump
from hf_compress.ensembling.build import stage_scores
from hf_compress.ensembling.combiner import Combiner, log_probabilities
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.confidences.learned_deferral import LearnedDeferral
from hf_compress.ensembling.confidences.maximum_probability import MaximumProbability
from hf_compress.ensembling.fitting.cascade import NEVER, CascadeResult, Stages, stages_of
from hf_compress.ensembling.fitting.deferral import Learns, fit_deferral
from hf_compress.ensembling.fitting.thresholds import choose_thresholds, frontier
from hf_compress.ensembling.fusion import Fused, Fusion, Said
from hf_compress.ensembling.member_costs import MemberCosts

_SAFE = 1e-3
"""A confidence closer to its threshold may fall on either side of it in a batch of other rows."""
_MAX_ROUNDS = 8
"""How often thresholds are chosen for costs that follow from the thresholds before."""
_LIMITS = ("least_quality", "least_of_last", "most_cost", "thresholds")


@dataclass(frozen=True, kw_only=True)
class CascadeFusion(Fusion, name="cascade"):
    """A stage answers rows whose confidence is at least its threshold; the last answers what is left.

    One of the first four says where the thresholds are.

    Attributes:
        least_quality: accuracy on validation; of all thresholds that have it the cheapest are taken.
        least_of_last: the same as a share of the last member's accuracy, e.g. 0.99.
        most_cost: mean cost of a row as a share of the last member's, e.g. 0.6; the most accurate thresholds are taken.
        thresholds: by hand, one for each member but the last, in [0, 1]; 2 for a stage that answers nothing.
        confidence: how sure an answer is. `learned_deferral` without weights is learned on validation.
        deferral: what that learns, see `fit_deferral`.
        costs: what a row costs where members do not say it: "macs" (multiplications with an addition) or "ms", measured
            on validation rows in full batches and one by one; a stage then costs what it does at the batches that reach it.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Viola, Jones",
        title="Rapid Object Detection using a Boosted Cascade of Simple Features",
        year=2001,
        link="https://doi.org/10.1109/CVPR.2001.990517",
    )
    ensemble: ClassVar[str] = "Cascade"
    takes: ClassVar[tuple[Literal["weights", "combiner", "leave_out"], ...]] = ("leave_out",)

    least_quality: float | None = None
    least_of_last: float | None = None
    most_cost: float | None = None
    thresholds: tuple[float, ...] | None = None
    confidence: Confidence = field(default_factory=MaximumProbability)
    deferral: Learns = "gain"
    costs: Literal["macs", "ms"] = "macs"

    def __post_init__(self) -> None:
        given = [name for name in _LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise CompressionError(
                f"{' and '.join(given) or 'nothing'} given; write one of {', '.join(_LIMITS)}, which says where the"
                " thresholds are"
            )
        for name in ("least_quality", "least_of_last", "most_cost"):
            value = getattr(self, name)
            if value is not None and not (0 < value <= 1 or (name == "most_cost" and value > 0)):
                raise CompressionError(
                    f"{name}={value} must be above 0" + (" and at most 1" if name != "most_cost" else "")
                )
        for place, threshold in enumerate(self.thresholds or ()):
            if not (0 <= threshold <= 1 or threshold == NEVER):
                raise CompressionError(f"thresholds.{place} is {threshold}; it must be in [0, 1], or 2 to answer nothing")

    @property
    def unlearned(self) -> bool:
        """The confidence is yet to be learned."""
        return self.confidence == LearnedDeferral()

    @property
    def learns(self) -> bool:
        """Unless thresholds are given for a confidence that is there."""
        return self.thresholds is None or self.unlearned

    @property
    def asks_costs(self) -> Literal["macs", "ms"] | None:
        """Always: what it saves is cost."""
        return self.costs

    def check_members(self, names: Sequence[str], costs: Sequence[float | None]) -> None:
        """A threshold for each member but the last, and costs that rise."""
        if self.thresholds is not None and len(self.thresholds) != len(names) - 1:
            raise CompressionError(
                f"fusion.thresholds: {len(self.thresholds)} for {len(names)} members; give one for each but the last, which"
                " answers all that reaches it"
            )
        known = [cost for cost in costs if cost is not None]
        if known and len(known) < len(names):
            place = [cost is None for cost in costs].index(True)
            raise CompressionError(
                f"members.{place}.cost: other members have one, and {names[place]!r} has none; give all of them one"
            )
        refuse_falling(names, known, "the recipe")

    def given(self, costs: tuple[float, ...] | None = None) -> Fused:
        """The thresholds by hand."""
        assert self.thresholds is not None
        options = {"thresholds": list(self.thresholds), "confidence": self.confidence}
        return Fused(
            options={**options, "costs": None if costs is None else list(costs)}, facts={"thresholds": self.thresholds}
        )

    def fit(self, said: Said) -> Fused:
        """Thresholds on what the members say, and a confidence before them where it is to be learned.

        Raises:
            CompressionError: no thresholds keep the limit, or costs do not rise from member to member.
        """
        assert said.costs is not None
        refuse_falling(said.names, said.costs.each, f"{said.costs.unit} of a row")
        confidence: Any = self.confidence
        learned = []
        if self.unlearned:
            confidence = list(fit_deferral(said.logits, said.labels, learns=self.deferral))
            learned.append("deferral scores")
        learned += ["thresholds"] if self.thresholds is None else []
        found, stages, costs = self._chosen(confidence, said, said.costs)
        last, alone, thresholds = float(stages.quality[-1].mean()), said.costs.each[-1], found.thresholds
        note = (
            f"Cascade on validation: accuracy {found.quality:.4f}, the last member's {last:.4f}, at"
            f" {found.cost / alone:.3f} of its cost ({found.cost:.4g} a row, {said.costs.unit}); answered by "
            + ", ".join(f"{name} {share:.1%}" for name, share in zip(said.names, found.shares, strict=True))
            + "."
        )
        idle = [name for name, threshold in zip(said.names, thresholds, strict=False) if threshold == NEVER]
        more = [f"{name} answers no row, and every row that reaches it pays for it: leave it out." for name in idle]
        return Fused(
            options={"thresholds": list(thresholds), "confidence": confidence, "costs": list(costs)},
            learned=tuple(learned),
            notes=(note, *more),
            facts={
                "thresholds": list(thresholds),
                "confidence": dump(confidence),
                "shares": list(found.shares),
                "quality": found.quality,
                "cost": found.cost,
                "frontier": [list(one) for one in frontier(stages)],
            },
        )

    def _chosen(self, confidence: Any, said: Said, costs: MemberCosts) -> tuple[CascadeResult, Stages, tuple[float, ...]]:
        """What the thresholds do, with costs at the batches that reach the stages; which depend on the thresholds, so they
        are chosen again until they stay.
        """
        paid = costs.each
        for _ in range(_MAX_ROUNDS):
            stages = self._stages(confidence, said.logits, said.labels, paid)
            thresholds = self.thresholds
            if thresholds is None:
                last = float(stages.quality[-1].mean())
                limits = {
                    "least_quality": self.least_quality if self.least_of_last is None else self.least_of_last * last,
                    "most_cost": None if self.most_cost is None else self.most_cost * costs.each[-1],
                }
                thresholds = choose_thresholds(stages.confidences, stages.quality, paid, **limits).thresholds
            found = stages.run(thresholds)
            before, paid = paid, costs.where_reached(found.reaching)
            if paid == before:
                break
        stages = self._stages(confidence, said.logits, said.labels, paid)
        return stages.run(found.thresholds), stages, paid

    def answer(self, fused: Fused, logits: Tensor, combiner: Combiner, weights: Tensor | None) -> Tensor:
        """(M, N, C) -> (N, C), those of the stage that answers."""
        rows = log_probabilities(logits)
        stages = self._stages(fused.options["confidence"], logits, rows[0].argmax(-1), [1.0] * len(logits))
        by = stages.answered_by(fused.options["thresholds"])
        return rows[by, torch.arange(len(by))]

    def settled(self, fused: Fused, logits: Tensor) -> Tensor:
        """Rows that no confidence leaves close to its threshold."""
        scores = stage_scores(log_probabilities(logits), fused.options["confidence"])
        apart = (scores - torch.tensor(fused.options["thresholds"]).unsqueeze(-1)).abs() > _SAFE
        return apart.all(0)

    def on_rows(self, fused: Fused, logits: Tensor, labels: Tensor, costs: Sequence[float]) -> Mapping[str, Any]:
        """Cost, shares of the stages, and what the thresholds of the validation rows do on these."""
        stages = self._stages(fused.options["confidence"], logits, labels, costs)
        found = stages.run(fused.options["thresholds"])
        curve = [stages.run(one) for one in fused.facts.get("frontier", ())]
        return {
            "cost": found.cost,
            "shares": list(found.shares),
            "curve": [[one.cost, one.quality] for one in curve],
        }

    @staticmethod
    def _stages(confidence: Any, logits: Tensor, labels: Tensor, costs: Sequence[float]) -> Stages:
        rows = log_probabilities(logits)
        return stages_of(stage_scores(rows, confidence), (rows.argmax(-1) == labels).double(), costs)


def refuse_falling(names: Sequence[str], costs: Sequence[float], by: str) -> None:
    """Refuse members that are not in the order in which a cascade asks them.

    Raises:
        CompressionError: naming the first pair.
    """
    for place in range(1, len(costs)):
        if costs[place] < costs[place - 1]:
            raise CompressionError(
                f"members: a cascade asks from cheap to dear, and {names[place - 1]!r} costs {costs[place - 1]:.4g},"
                f" {names[place]!r} behind it {costs[place]:.4g} ({by}); put the cheaper one first"
            )
