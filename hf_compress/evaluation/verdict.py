"""One word on a compressed model, by rules that stand beside it."""

import math
from dataclasses import dataclass
from typing import Literal

from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.thresholds import Thresholds

Kind = Literal["accept", "regression", "anomalous", "infeasible", "none"]
_ROUNDING = 0.005
"""By how much a sparsity may miss its target: whole weights of small layers, written with two digits."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be thought of a result.

    Attributes:
        kind: accept; regression: worse than tolerated; anomalous: not to be believed; infeasible: a target was not reached;
            none: there is nothing to judge it by.
        reason: the numbers that decided.
        thresholds: those that it was judged by, or the rule in words.
    """

    kind: Kind
    reason: str
    thresholds: Thresholds | str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason} (thresholds: {self.thresholds})"


def judge(report: Report) -> Verdict:
    """The verdict on a report's last row, against its first.

    The first of these rules that holds decides: anomalous, where the metric of either is no finite number, another number
    of either is NaN (as the loss is where logits are, whose likeliest class is still one), or the result's metric
    is no better than chance (`report.chance`); infeasible, where size or sparsity miss their targets; none, without a dense
    row; anomalous, where it is better than dense by more than `gain`; regression, where it is worse by more than `loss`;
    else accept. Better and worse are shares of the dense metric: |ours - dense| / |dense|.

    An ensemble is accepted where it is better than its best member on the validation split; a cascade where every member
    that is as good there costs more.
    """
    if isinstance(report, EnsembleReport):
        return _of_ensemble(report)
    ours, dense = report.rows[-1], report.rows[0] if len(report.rows) > 1 else None
    kind, reason = _decided(report, ours, dense)
    return Verdict(kind=kind, reason=reason, thresholds=report.thresholds)


def _of_ensemble(report: EnsembleReport) -> Verdict:
    ours, best, name = report.rows[-1].name, report.best_member(), report.metric.replace("_", " ")
    known = {key: report.validation[key] for key in (ours, best)}
    broken = [key for key, value in report.validation.items() if not math.isfinite(value)]
    reason = f"{name} {known[ours]:.4g} on validation, its best member there, {best!r}, {known[best]:.4g}"
    rule = "better than the best member on validation, by however little"
    kind: Kind = "accept" if report.is_better() else "regression"
    if broken:
        kind, reason = "anomalous", f"{name} of {broken[0]!r} on validation is {report.validation[broken[0]]}"
    elif report.fusion == "cascade" and ours in report.validation_costs:
        rule = "every member that is as good on validation costs more there"
        same, costs = report.as_good_for_no_more(), report.validation_costs
        kind = "accept" if same is None else "regression"
        reason += f"; a row costs {costs[ours]:.4g}, in {best!r} {costs[best]:.4g} ({report.cost_unit})"
        if same is not None:
            reason += (
                f"; the ensemble does not beat {same!r}, which has {report.validation[same]:.4g} for {costs[same]:.4g}, so"
                " ask that member alone"
            )
    elif not report.is_better():
        reason += "; the ensemble does not beat it, so ask that member alone"
    if report.fitted:
        reason += f" (fitted on these rows: {', '.join(report.fitted)}"
        reason += "; its own number is of folds that did not teach it)" if report.by_folds else ")"
    return Verdict(kind=kind, reason=reason, thresholds=rule)


def _decided(report: Report, ours: Row, dense: Row | None) -> tuple[Kind, str]:
    limits, name = report.thresholds, report.metric.replace("_", " ")
    value = ours.metrics[report.metric]
    for row in (ours, dense):
        if row is not None and not math.isfinite(row.metrics[report.metric]):
            return "anomalous", f"{name} of {row.name!r} is {row.metrics[report.metric]}"
        undefined = [] if row is None else [key for key, number in row.metrics.items() if math.isnan(number)]
        if row is not None and undefined:
            return "anomalous", f"{undefined[0].replace('_', ' ')} of {row.name!r} is nan"
    if report.chance is not None and not _better(report, value, report.chance):
        return "anomalous", f"{name} {value:.4g} is no better than chance ({report.chance:.4g})"
    if limits.sparsity is not None and ours.sparsity is not None and ours.sparsity < limits.sparsity - _ROUNDING:
        return "infeasible", f"sparsity {ours.sparsity:.4f} is below {limits.sparsity:.3g}"
    if dense is None:
        return "none", f"{name} {value:.4g}, and no dense model was measured beside it"
    share = ours.file_bytes / dense.file_bytes
    if limits.size is not None and share > limits.size:
        return "infeasible", f"{share:.3f} of the dense size is more than {limits.size:.3g}"
    known = dense.metrics[report.metric]
    change = _share(value - known, known)
    better = _better(report, value, known)
    reason = f"{name} {value:.4g}, dense {known:.4g}: {_in_words(change, better)}"
    if better and change > limits.gain:
        return "anomalous", reason
    return ("regression" if not better and change > limits.loss else "accept"), reason


def _better(report: Report, value: float, other: float) -> bool:
    return value > other if report.greater_is_better else value < other


def _share(difference: float, of: float) -> float:
    if difference == 0:
        return 0.0
    return math.inf if of == 0 else abs(difference / of)


def _in_words(change: float, better: bool) -> str:
    return "the same" if change == 0 else f"{100 * change:.2f} % {'better' if better else 'worse'}"
