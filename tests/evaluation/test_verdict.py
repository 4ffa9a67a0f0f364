"""The rules of the verdict, each by hand."""

import dataclasses
import math

import pytest

from hf_compress import CompressionError
from hf_compress.evaluation.report import verdict_line
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.thresholds import Thresholds
from hf_compress.evaluation.verdict import judge


def report(dense, ours, greater=False, sparsity=0.5, chance=None, **thresholds):
    rows = [Row(name="dense", metrics={"m": dense}, file_bytes=1000)] if dense is not None else []
    rows.append(Row(name="ours", metrics={"m": ours}, file_bytes=400, sparsity=sparsity))
    limits = Thresholds(**thresholds)
    return Report(
        title="t", metric="m", greater_is_better=greater, rows=tuple(rows), setting={}, thresholds=limits, chance=chance
    )


CASES = {
    "as good": (report(10.0, 10.0), "accept", "m 10, dense 10: the same"),
    "a little worse": (report(10.0, 10.5), "accept", "m 10.5, dense 10: 5.00 % worse"),
    "worse": (report(10.0, 10.51), "regression", "m 10.51, dense 10: 5.10 % worse"),
    "worse, more is better": (report(0.9, 0.85, greater=True), "regression", "m 0.85, dense 0.9: 5.56 % worse"),
    "tolerated by the recipe": (report(10.0, 12.0, loss=0.2), "accept", "m 12, dense 10: 20.00 % worse"),
    "better": (report(10.0, 9.0), "accept", "m 9, dense 10: 10.00 % better"),
    "too good": (report(10.0, 8.9), "anomalous", "m 8.9, dense 10: 11.00 % better"),
    "negative numbers": (report(-0.5, -0.6, greater=True), "regression", "m -0.6, dense -0.5: 20.00 % worse"),
    "from nothing": (report(0.0, 0.1, greater=True), "anomalous", "m 0.1, dense 0: inf % better"),
    "no number": (report(10.0, math.nan), "anomalous", "m of 'ours' is nan"),
    "no dense number": (report(math.inf, 10.0), "anomalous", "m of 'dense' is inf"),
    "a loss that is none": (
        dataclasses.replace(
            report(0.5, 0.5, greater=True),
            rows=(
                Row(name="dense", metrics={"m": 0.5, "nll": 0.1}, file_bytes=9),
                Row(name="ours", metrics={"m": 0.5, "nll": math.nan}, file_bytes=9),
            ),
        ),
        "anomalous",
        "nll of 'ours' is nan",
    ),
    "chance": (report(0.5, 0.5, greater=True, chance=0.5), "anomalous", "m 0.5 is no better than chance (0.5)"),
    "better than chance": (report(500.0, 510.0, chance=512.0), "accept", "m 510, dense 500: 2.00 % worse"),
    "not sparse enough": (
        dataclasses.replace(report(10.0, 10.0, sparsity=0.49), thresholds=Thresholds(sparsity=0.5)),
        "infeasible",
        "sparsity 0.4900 is below 0.5",
    ),
    "too large": (report(10.0, 10.0, size=0.3), "infeasible", "0.400 of the dense size is more than 0.3"),
    "alone": (report(None, 10.0), "none", "m 10, and no dense model was measured beside it"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_rule_that_holds_decides(case):
    given, kind, reason = CASES[case]
    verdict = judge(given)
    assert (verdict.kind, verdict.reason) == (kind, reason)


def test_the_line_says_the_thresholds():
    assert verdict_line(report(10.0, 10.0, size=0.5)) == (
        "**Verdict: accept**: m 10, dense 10: the same (thresholds: at most 0.05 of the metric lost, at most 0.1 gained,"
        " at most 0.5 of the dense size, any sparsity)."
    )


@pytest.mark.parametrize("wrong", [{"loss": -0.1}, {"gain": math.nan}, {"size": math.inf}, {"sparsity": 1.0}])
def test_thresholds_that_are_no_shares_are_refused(wrong):
    with pytest.raises(CompressionError, match=f"{next(iter(wrong))}=.* is a share"):
        Thresholds(**wrong)
