"""Benchmarks of language models, by the harness that the field compares by."""

import contextlib
import importlib.metadata
import importlib.util
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy
from numpy import ndarray

from hf_compress._errors import CompressionError, reason_of
from hf_compress._kinds import CheckedKinds
from hf_compress._problems import Problem, RecipeError
from hf_compress._registry import Reference, unknown
from hf_compress.evaluation.bootstrap import Summed
from hf_compress.tasks.metrics.sums import means, values

EXTRA = "pip install 'hf-compress[lm-eval]'"
_STDERR = "_stderr"


@dataclass(frozen=True, kw_only=True)
class Harness(metaclass=CheckedKinds):
    """Benchmarks of the LM Evaluation Harness (`lm_eval`), which fetch their data from the Hub.

    Tasks are those that the installed package brings; a folder of one's own tasks can hold code, so no recipe names one.

    Attributes:
        tasks: names of tasks or groups, such as hellaswag or arc_easy.
        limit: rows of each task at most; numbers of fewer rows are for trying, and the report says so.
        num_fewshot: solved examples before each question; None = as the task says.
    """

    tasks: tuple[str, ...]
    limit: int | None = None
    num_fewshot: int | None = None

    reference: ClassVar[Reference | None] = Reference(
        authors="Gao et al.",
        title="The Language Model Evaluation Harness",
        year=2024,
        link="https://zenodo.org/records/12608602",
    )

    def __post_init__(self) -> None:
        if not self.tasks:
            raise CompressionError("tasks is empty; name one or more of the harness, such as hellaswag")
        if self.limit is not None and self.limit < 1:
            raise CompressionError(f"limit={self.limit} must be 1 or more")
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise CompressionError(f"num_fewshot={self.num_fewshot} must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class Benchmarked:
    """What one model reached.

    Attributes:
        numbers: "task:metric" -> the harness's number, a name of its filter behind it where it has one.
        directions: whether more of it is better.
        stderr: the harness's standard errors, where it gives one.
        rows: a number for every row, where the harness's is their mean.
        counts: rows of every task.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    directions: dict[str, bool] = field(default_factory=dict)
    stderr: dict[str, float] = field(default_factory=dict)
    rows: dict[str, ndarray] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def summed(self, key: str) -> Summed:
        """The mean of a number's rows."""
        return Summed(values(self.rows[key][:, None]), lambda sums: means(sums, (key,)))

    def describe(self, harness: Harness) -> str:
        """What was run, for a report's setting."""
        shots = "as its tasks say" if harness.num_fewshot is None else str(harness.num_fewshot)
        rows = ", ".join(f"{task} ({count:,} rows)" for task, count in self.counts.items())
        limited = (
            "" if harness.limit is None else f"; limited to {harness.limit:,} rows, so for trying and not for comparing"
        )
        return f"lm_eval {importlib.metadata.version('lm_eval')}: {rows}; few-shot examples: {shots}{limited}"


def require_harness() -> None:
    """Refuse where the package is missing.

    Raises:
        CompressionError: with the command that installs it.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise CompressionError(f"harness: it needs the package lm_eval, which is not installed: {EXTRA}")


def task_manager() -> Any:
    """The tasks that the package brings."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def check_harness(harness: Harness) -> None:
    """Refuse a missing package, names that it does not know, and tasks whose data cannot be had: it is fetched here.

    Raises:
        CompressionError: with everything that is wrong.
    """
    require_harness()
    manager = task_manager()
    known = manager.all_tasks
    problems = []
    for place, name in enumerate(harness.tasks):
        if name not in known:
            near = unknown("task of the harness", name, known).partition(" (known: ")[0]
            problems.append(Problem(path=f"harness.tasks.{place}", message=f"{near}; `lm_eval ls tasks` lists them"))
    if problems:
        raise RecipeError(problems)
    try:
        manager.load(list(harness.tasks))
    except Exception as error:  # of anybody's tasks, and of the Hub's client
        raise CompressionError(f"harness.tasks: {', '.join(harness.tasks)} cannot be had: {reason_of(error)}") from error


def benchmark(model: Any, tokenizer: Any, harness: Harness, batch_size: int, resamples: int, seed: int = 0) -> Benchmarked:
    """Run the harness's tasks.

    Args:
        model: a causal language model, loaded; in eval mode.
        tokenizer: its own.
        harness: what to run.
        batch_size: requests at once.
        resamples: of its own standard errors, for numbers that are no means.
        seed: of the few-shot examples.

    Raises:
        CompressionError: a task cannot be had or run.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints, and standard output is the table's
            found = simple_evaluate(
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
                tasks=list(harness.tasks),
                num_fewshot=harness.num_fewshot,
                limit=harness.limit,
                bootstrap_iters=resamples,
                task_manager=task_manager(),
                random_seed=seed,
                numpy_random_seed=seed,
                torch_random_seed=seed,
                fewshot_random_seed=seed,
            )
    except Exception as error:  # of anybody's tasks, and of the Hub's client
        raise CompressionError(f"harness: {', '.join(harness.tasks)} cannot be run: {reason_of(error)}") from error
    assert found is not None  # other processes alone get none
    return read(found)


def read(found: Mapping[str, Any]) -> Benchmarked:
    """The numbers in what `simple_evaluate` returns."""
    made = Benchmarked()
    for task, results in found["results"].items():
        count = found.get("n-samples", {}).get(task)
        if count is not None:
            made.counts[task] = int(count["effective"])
        for name, value in results.items():
            metric, comma, chosen = name.partition(",")
            if not comma or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            key = f"{task}:{metric.removesuffix(_STDERR)}" + ("" if chosen == "none" else f",{chosen}")
            if metric.endswith(_STDERR):
                made.stderr[key] = float(value)
                continue
            made.numbers[key] = float(value)
            higher = found.get("higher_is_better", {}).get(task, {}).get(metric)
            if higher is not None:
                made.directions[key] = bool(higher)
            rows = _rows(found.get("samples", {}).get(task, ()), metric, chosen)
            if rows is not None and math.isclose(rows.mean(), value, rel_tol=1e-9, abs_tol=1e-12):
                made.rows[key] = rows
    return made


def _rows(samples: Iterable[Mapping[str, Any]], metric: str, chosen: str) -> ndarray | None:
    """A number of every row, in the order of the documents; None where a row has none."""
    ordered = sorted((one for one in samples if one.get("filter", "none") == chosen), key=lambda one: one["doc_id"])
    numbers = [one.get(metric) for one in ordered]
    if not numbers or not all(isinstance(one, int | float | numpy.number | numpy.bool_) for one in numbers):
        return None
    return numpy.array(numbers, dtype=numpy.float64)


def same_rows(benchmarked: Sequence[Benchmarked], key: str) -> bool:
    """Whether every model has a number for each of the same rows."""
    return len({len(one.rows.get(key, ())) for one in benchmarked}) == 1 and key in benchmarked[0].rows
