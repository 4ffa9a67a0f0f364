"""The report of an ensemble as data: a row for each member, and one for all together."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress.evaluation.rows import Report


@dataclass(frozen=True, kw_only=True)
class EnsembleReport(Report):
    """A report whose rows are the members, a student where there is one, and last the ensemble.

    Attributes:
        validation: name of a row -> the metric to compare by, on the validation split.
        by_folds: the ensemble's number there is of folds that did not teach it.
        fitted: what was learned on the validation split ("temperatures", "weights"), in that order.
        weights: name of a member -> its share of all weights.
        temperatures: name of a member -> its own; empty where all are 1.
        parameters: name of a row -> how many numbers it has.
        disagreement: (M, M), the share of test rows on which two members' classes differ; empty where rows have none.
        error_correlation: (M, M), of being wrong on test rows; None where a member's errors do not vary.
        fusion: how members answer together, by its name.
        student: the row of a model that is measured beside them; None without.
        costs: name of a row -> what a test row costs, the mean.
        cost_unit: of the costs, in words.
        validation_costs: the same of members and ensemble on the validation split.
        macs: name of a row -> multiplications with an addition of a test row.
        latency: name of a row -> batch size -> milliseconds of a row.
        stages: of a cascade, in order: member, threshold, cost, and the share of rows that it answers on each split.
        curve: (K, 2) cost and quality on the test split, of thresholds that were chosen on validation, from cheap to dear.
    """

    validation: dict[str, float] = field(default_factory=dict)
    by_folds: bool = False
    fitted: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    disagreement: list[list[float]] = field(default_factory=list)
    error_correlation: list[list[float | None]] = field(default_factory=list)
    fusion: str = "parallel"
    student: str | None = None
    costs: dict[str, float] = field(default_factory=dict)
    cost_unit: str = ""
    validation_costs: dict[str, float] = field(default_factory=dict)
    macs: dict[str, float] = field(default_factory=dict)
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)

    @property
    def ours(self) -> str:
        """The row of the ensemble."""
        return self.rows[-1].name

    @property
    def members(self) -> list[str]:
        """The rows of the members."""
        return [row.name for row in self.rows[:-1] if row.name != self.student]

    def best_member(self) -> str:
        """The member with the best metric on the validation split; of equal ones the first."""
        return (max if self.greater_is_better else min)(self.members, key=self.validation.__getitem__)

    def is_better(self) -> bool:
        """Whether the ensemble beats that member there; False where a number is NaN."""
        ours, best = self.validation[self.ours], self.validation[self.best_member()]
        return ours > best if self.greater_is_better else ours < best

    def as_good_for_no_more(self) -> str | None:
        """The best of the members that are as good as a cascade on validation and cost no more; None without."""
        sign, ours, costs = 1 if self.greater_is_better else -1, self.ours, self.validation_costs
        found = [
            name
            for name in self.members
            if sign * self.validation[name] >= sign * self.validation[ours] and costs[name] <= costs[ours]
        ]
        return max(found, key=lambda name: sign * self.validation[name], default=None)


def report_of(data: dict[str, Any]) -> Report:
    """A report from its plain data, of an ensemble or of a training; see `Report.from_plain`."""
    if isinstance(data, dict) and "error_correlation" in data:
        return EnsembleReport.from_plain({**data, "fitted": tuple(data.get("fitted", ()))})
    return Report.from_plain(data)
