"""The report of finished models: their rows, and how sure the numbers are."""

from dataclasses import dataclass, field
from typing import Any, Self

from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.uncertainty import Uncertainty


@dataclass(frozen=True, kw_only=True)
class EvaluationReport(Report):
    """A report whose rows are the models that were measured, a baseline first.

    Attributes:
        directions: what was measured -> whether more of it is better.
        uncertainty: what was measured -> intervals, difference, sign test; also of `closeness`.
        closeness: of two models: agreement, the share of decisions that both make alike, and kl_divergence,
            KL(baseline || model) in nats, the mean over rows of logits.
        bootstrap: how the intervals were drawn: resamples, level, seed.
        cost: a `CostReport` as plain data; None where it was not asked for.
        recipe: what was asked for, in canonical form.
    """

    directions: dict[str, bool] = field(default_factory=dict)
    uncertainty: dict[str, Uncertainty] = field(default_factory=dict)
    closeness: dict[str, float] = field(default_factory=dict)
    bootstrap: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Self:
        """Back from report.json."""
        known = {key: Uncertainty.from_plain(one) for key, one in data.get("uncertainty", {}).items()}
        return super().from_plain({**data, "uncertainty": known})
