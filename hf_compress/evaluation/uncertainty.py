"""What is known of every number of an evaluation beside itself: intervals, the difference of two models, a sign test."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
from numpy import ndarray

from hf_compress._errors import CompressionError
from hf_compress.evaluation.agreement import SideBySide
from hf_compress.evaluation.bootstrap import Bootstrap, Quantity, quantity_of, resample
from hf_compress.evaluation.harness import Benchmarked, same_rows
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.sign_test import SignTest, holm, sign_test
from hf_compress.evaluation.sliding_window import Slid
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.sums import share

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Of one number.

    Attributes:
        unit: what a row is that was resampled.
        rows: how many there are.
        intervals: of each model, in the order of the report's rows.
        difference: the model's number minus the baseline's; None without one.
        difference_interval: of the difference, on the same resamples.
        sign_test: over the rows; None without a baseline, and where a row has no number of its own.
    """

    unit: str
    rows: int
    intervals: tuple[Interval, ...]
    difference: float | None = None
    difference_interval: Interval | None = None
    sign_test: SignTest | None = None

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "Uncertainty":
        """Back from report.json."""
        test, between = data["sign_test"], data["difference_interval"]
        made = {
            **data,
            "intervals": tuple((low, high) for low, high in data["intervals"]),
            "difference_interval": None if between is None else tuple(between),
            "sign_test": None if test is None else SignTest(**test),
        }
        return cls(**made)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Numbers of the same rows.

    Attributes:
        unit: what a row is.
        quantities: of each model, in the order of the report's rows; empty where only `shared` is known.
        scores: name of a number -> of each model how good every row is.
        shared: of both models together: how close they are.
    """

    unit: str
    quantities: tuple[Sequence[Quantity], ...]
    scores: Mapping[str, tuple[ndarray, ...]] = field(default_factory=dict)
    shared: Quantity | None = None

    @property
    def num_rows(self) -> int:
        """How many."""
        either = self.shared or self.quantities[0][0]
        return either.num_rows


def of_predictions(metrics: Sequence[Metric], kept: Sequence[Kept]) -> list[Group]:
    """Of metrics; empty for a task without predictions.

    Args:
        metrics: what was measured.
        kept: of each model.

    Raises:
        CompressionError: the models were asked about other rows.
    """
    if not kept[0].predictions:
        return []
    if any(list(one.references) != list(kept[0].references) for one in kept[1:]):
        raise CompressionError(
            "against: it reads the rows so that other answers are right than for the model (a text is cut elsewhere), so"
            " rows cannot be paired; compare models of one tokenizer"
        )
    scores = {}
    for metric in metrics:
        of_rows = [metric.row_scores(one.predictions, one.references) for one in kept]
        if all(one is not None for one in of_rows):
            scores[metric.gives[0]] = tuple(of_rows)
    quantities = tuple([quantity_of(metric, one.predictions, one.references) for metric in metrics] for one in kept)
    return [Group(unit="predictions", quantities=quantities, scores=scores)]  # type: ignore[arg-type]


def of_likelihoods(seen: SideBySide, keys: Sequence[str], unit: str) -> list[Group]:
    """Of what was seen of the logits of each model; empty where they have no loss of their own and no baseline.

    Args:
        seen: the models in the order of the report's rows.
        keys: what was measured.
        unit: what an example is.
    """
    quantities = seen.likelihoods(keys)
    shared = seen.closeness()
    if not quantities:
        return [] if shared is None else [Group(unit=unit, quantities=(), shared=shared)]
    each = tuple(share(loss, seen.items) for loss in seen.losses)
    scores = {key: each for key in (seen.loss, "perplexity") if key in keys}
    return [Group(unit=unit, quantities=tuple([one] for one in quantities), scores=scores, shared=shared)]


def of_documents(slid: Sequence[Slid]) -> list[Group]:
    """Of whole documents, for each model; empty where no window slid.

    Args:
        slid: what was seen of the same documents.
    """
    if not slid:
        return []
    scores = {"window_perplexity": tuple(one.nll / one.tokens for one in slid)}
    return [Group(unit="documents", quantities=tuple([one.summed()] for one in slid), scores=scores)]


def of_benchmarks(benchmarked: Sequence[Benchmarked]) -> list[Group]:
    """Of the harness's numbers that are means of the same rows, for each model.

    Args:
        benchmarked: what each model reached.
    """
    keys = [key for key in (benchmarked[0].rows if benchmarked else ()) if same_rows(benchmarked, key)]
    return [
        Group(
            unit=f"rows of {key.partition(':')[0]}",
            quantities=tuple([one.summed(key)] for one in benchmarked),
            scores={key: tuple(one.rows[key] for one in benchmarked)},
        )
        for key in keys
    ]


def uncertainties(
    group: Group, values: Sequence[Mapping[str, float]], directions: Mapping[str, bool], bootstrap: Bootstrap
) -> dict[str, Uncertainty]:
    """Of every number of a group that was measured.

    Args:
        group: of two rows or more.
        values: what was measured of each model. What the rows do not add up to gets no interval.
        directions: whether more of it is better.
        bootstrap: how intervals are drawn.
    """
    flat = [one for quantities in group.quantities for one in quantities]
    shared = [] if group.shared is None else [group.shared]
    drawn = resample([*flat, *shared], bootstrap, f"resampling {group.unit}")
    found = {}
    if group.shared is not None:
        for key in [key for key, numbers in drawn[-1].items() if not numpy.isnan(numbers).all()]:
            numbers = drawn[-1][key]
            found[key] = Uncertainty(unit=group.unit, rows=group.num_rows, intervals=(bootstrap.interval(numbers),))
    if not group.quantities:
        return found
    size = len(group.quantities[0])
    models: list[dict[str, ndarray]] = [
        {key: numbers for one in drawn[at * size : (at + 1) * size] for key, numbers in one.items()}
        for at in range(len(group.quantities))
    ]
    for key in [key for key in confirmed(group, values) if key in directions]:
        of_models = [model[key] for model in models]
        facts: dict[str, Any] = {}
        if len(models) == 2:
            facts["difference"] = values[1][key] - values[0][key]
            facts["difference_interval"] = bootstrap.interval(of_models[1] - of_models[0])
            if key in group.scores:
                baseline, model = group.scores[key]
                facts["sign_test"] = sign_test(model, baseline, directions[key])
        intervals = tuple(bootstrap.interval(one) for one in of_models)
        found[key] = Uncertainty(unit=group.unit, rows=group.num_rows, intervals=intervals, **facts)
    return found


def corrected(found: Mapping[str, Uncertainty], groups: Sequence[Group]) -> dict[str, Uncertainty]:
    """The same with sign tests that may be read side by side.

    Numbers of the same scores (a loss and its perplexity) are one test.

    Args:
        found: of all groups.
        groups: of which.
    """
    tests: dict[int, list[tuple[str, SignTest]]] = {}
    for group in groups:
        for key, scores in group.scores.items():
            test = found[key].sign_test if key in found else None
            if test is not None:
                tests.setdefault(id(scores), []).append((key, test))
    if len(tests) < 2:
        return dict(found)
    changed = {}
    for same, p_value in zip(tests.values(), holm([one[0][1].p_value for one in tests.values()]), strict=True):
        for key, test in same:
            changed[key] = dataclasses.replace(found[key], sign_test=dataclasses.replace(test, holm_p_value=p_value))
    return {**found, **changed}


def confirmed(group: Group, values: Sequence[Mapping[str, float]]) -> list[str]:
    """Numbers that the rows, each once, give as they were measured: a task may count in a way of its own."""
    every = numpy.arange(group.num_rows)[None]
    once = numpy.ones((1, group.num_rows))
    keys: dict[str, bool] = {}
    for quantities, measured in zip(group.quantities, values, strict=True):
        for quantity in quantities:
            for key, number in quantity.of(every, once).items():
                same = key in measured and math.isclose(number[0], measured[key], rel_tol=1e-3, abs_tol=1e-6)
                keys[key] = same and keys.get(key, True)
    return [key for key, same in keys.items() if same]


def together(seen: SideBySide) -> dict[str, float]:
    """How close two models are: agreement, kl_divergence; {} without a baseline."""
    shared = seen.closeness()
    if shared is None:
        return {}
    sums = shared.statistics.sum(0, keepdims=True)
    return {key: float(value[0]) for key, value in shared.of_sums(sums).items() if numpy.isfinite(value[0])}
