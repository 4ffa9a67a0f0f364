"""Sentences and tables from known numbers."""

import json

from hf_compress.evaluation.cost.report import CostReport, ModelCost, Timing, cost_tables, remarks_of
from hf_compress.evaluation.cost.rounds import Speedup

DENSE = Timing(
    model="dense",
    runtime="eager",
    what="forward",
    batch=2,
    inputs={"input_ids": (2, 8), "attention_mask": (2, 8)},
    first_s=0.5,
    median_s=0.01,
    p95_s=0.012,
    per_s=200.0,
)


def compressed(low, **changes):
    return Timing(**{**vars(DENSE), "model": "small", "speedup": Speedup(median=1.2, low=low, high=1.5), **changes})


def test_only_what_every_plausible_value_calls_faster_is_not_named():
    timings = [DENSE, compressed(1.01), compressed(0.99, what="next token"), compressed(1.0, what="first token")]
    assert remarks_of(timings, "dense") == (
        "not faster: small is not shown to be faster than dense in eager: next token 2 x 8 (1.20x, 0.99 to 1.50),"
        " first token 2 x 8 (1.20x, 1.00 to 1.50)",
        "each interval of speed holds by itself in 95 of 100 cases: of 3 comparisons one may be wrong, and more of more",
    )
    assert remarks_of([DENSE, compressed(1.01)], "dense") == ()


def test_a_latency_is_that_of_one_pass_in_eager_of_the_smallest_batch():
    fast = {"batch": 1, "median_s": 0.002}
    timings = [
        DENSE,
        compressed(1.1, **fast),
        compressed(1.1, **fast | {"median_s": 0.009}),  # of a greater length
        *(compressed(1.1, batch=1, median_s=9.0, **one) for one in ({"what": "next token"}, {"runtime": "compile"})),
    ]
    report = CostReport(models=(), timings=tuple(timings), setting={}, remarks=())
    assert report.latencies() == {"small": 2.0}


def test_the_tables_say_what_was_measured_and_the_data_is_plain():
    model = ModelCost(
        name="small",
        storage={"file_bytes": 2_000_000, "by_kind": {}, "num_weights": 10, "bits_per_weight": 4.5},
        parameters={"total": 1234, "nonzero": 1000, "sparsity": {}, "overall_sparsity": 0.1},
        macs={"2 x 8": 123456},
        memory={"peak_bytes": 3_000_000, "before_bytes": 1_000_000, "how": ""},
        dtype="float32",
        prepare_s={},
    )
    report = CostReport(models=(model,), timings=(DENSE, compressed(0.9)), setting={}, remarks=("slow",))
    text = cost_tables(report)
    for part in ("2.00 MB", "4.50", "1,234", "1,000", "1.235e+05 (2 x 8)", "3.00 MB, 1.00 MB of it before loading"):
        assert part in text
    for part in ("10 ms", "12 ms", "| 200 ", "1.20x (0.90 to 1.50)", "\n- slow"):
        assert part in text
    assert json.loads(json.dumps(report.to_plain()))["timings"][1]["speedup"]["low"] == 0.9
