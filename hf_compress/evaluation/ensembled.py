"""The report of an ensemble as data: a row for each member, and one for all together."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress.evaluation.rows import Report


@dataclass(frozen=True, kw_only=True)
class EnsembleReport(Report):
    """A report whose rows are the members, and last the ensemble.

    Attributes:
        validation: name of a row -> the metric to compare by, on the validation split.
        fitted: what was learned on the validation split ("temperatures", "weights"), in that order.
        weights: name of a member -> its share of all weights.
        temperatures: name of a member -> its own; empty where all are 1.
        parameters: name of a row -> how many numbers it has.
        disagreement: (M, M), the share of test rows on which two members' classes differ; empty where rows have none.
        error_correlation: (M, M), of being wrong on test rows; None where a member's errors do not vary.
    """

    validation: dict[str, float] = field(default_factory=dict)
    fitted: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    disagreement: list[list[float]] = field(default_factory=list)
    error_correlation: list[list[float | None]] = field(default_factory=list)

    def best_member(self) -> str:
        """The member with the best metric on the validation split; of equal ones the first."""
        names = [row.name for row in self.rows[:-1]]
        return (max if self.greater_is_better else min)(names, key=self.validation.__getitem__)

    def is_better(self) -> bool:
        """Whether the ensemble beats that member there; False where a number is NaN."""
        ours, best = self.validation[self.rows[-1].name], self.validation[self.best_member()]
        return ours > best if self.greater_is_better else ours < best


def report_of(data: dict[str, Any]) -> Report:
    """A report from its plain data, of an ensemble or of a training; see `Report.from_plain`."""
    if isinstance(data, dict) and "error_correlation" in data:
        return EnsembleReport.from_plain({**data, "fitted": tuple(data.get("fitted", ()))})
    return Report.from_plain(data)
