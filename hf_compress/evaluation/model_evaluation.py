"""What a finished model is measured on, as a value, and how it is opened."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError, problems_of
from hf_compress.evaluation.bootstrap import Bootstrap
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.evaluation.cost.configuration import Cost
from hf_compress.evaluation.cost.measure import check_cost
from hf_compress.evaluation.harness import Harness, check_harness
from hf_compress.evaluation.sliding_window import SlidingWindow, begin_of
from hf_compress.evaluation.thresholds import Thresholds
from hf_compress.inputs.data import Measured, check_seed
from hf_compress.inputs.models import num_positions
from hf_compress.inputs.sections import Data
from hf_compress.inputs.tokenizers import tokenizer_of
from hf_compress.recipe.checks import Check, Checked, Opener
from hf_compress.tasks.heads import CAUSAL_LM
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import Found, Opened, open_inputs
from hf_compress.tasks.task import Task


def some_metrics(task: Task, metrics: Sequence[Metric], batch_size: int) -> list[Problem]:
    """Metrics that fit the task, none of them twice, and a batch with examples."""
    Evaluation(metrics=tuple(metrics), batch_size=batch_size)
    return [replace(one, path=f"metrics.{one.path}".rstrip(".")) for one in task.check_metrics(metrics)]


def some_seed(seed: int) -> None:
    """A seed that every generator takes."""
    check_seed(seed)


def shown_examples(examples: int) -> None:
    """None, or some."""
    Evaluation(examples=examples)


def rows_that_end(data: Data) -> None:
    """What is measured is a number of rows."""
    if data.streaming:
        raise CompressionError(
            "data.streaming: a model is measured on counted rows, and a stream has no number of them; leave it out,"
            " and write max_eval"
        )


def documents(task: Task, window: SlidingWindow | None) -> None:
    """A window slides over running text."""
    if window is not None and not task.has_documents:
        known = [name for name, cls in Task.available().items() if cls.documents is not Task.documents]
        raise CompressionError(
            f"window: it slides over running text, and {task.name} has none; leave it out, or name {' or '.join(known)}"
        )


def benchmarks(task: Task, harness: Harness | None) -> None:
    """Benchmarks are for language models."""
    if harness is not None and task.head is not CAUSAL_LM:
        raise CompressionError(
            f"harness: its benchmarks are for causal language models, which {task.name} does not measure; leave it out, or"
            " name causal_lm or chat"
        )


def known_benchmarks(harness: Harness | None) -> None:
    """The package, and the names of its tasks."""
    if harness is not None:
        check_harness(harness)


def measured(
    model: str | None = None, data: Data | None = None, task: Task | None = None, split: Measured = "test", seed: int = 0
) -> Opened:
    """The model and its examples, found to fit together."""
    return open_inputs(model, data, task, seed=seed, measured=split)


def baseline(
    against: str | None = None,
    data: Data | None = None,
    task: Task | None = None,
    split: Measured = "test",
    seed: int = 0,
) -> Opened | None:
    """The same of the baseline; what is refused of the data is refused in the words of `measured`, and counts once."""
    if against is None:
        return None
    try:
        return open_inputs(against, data, task, seed=seed, measured=split)
    except RecipeError as error:
        raise RecipeError([_of_baseline(problem, against) for problem in error.problems]) from error


def _of_baseline(problem: Problem, against: str) -> Problem:
    """A refusal of the model, or of what belongs to it, at the baseline's key."""
    if problem.path == "model":
        return replace(problem, path="against")
    return Problem(path="against", message=f"{against}: {problem}") if problem.path == "tokenizer" else problem


def comparable(measured: Opened, baseline: Opened | None, model: str, against: str | None = None) -> None:
    """Two models see the same examples, and mean the same by a class."""
    if baseline is None:
        return
    if measured.labels != baseline.labels:
        raise CompressionError(
            f"against: {against} numbers the labels otherwise ({', '.join(baseline.labels[:5])}) than {model}"
            f" ({', '.join(measured.labels[:5])}), so an id has two meanings; compare models with the same id2label"
        )
    one, other = (tokenizer_of(opened.processor) for opened in (measured, baseline))
    if one is not None and other is not None:
        mine, theirs = one.get_vocab(), other.get_vocab()
        different = sum(theirs.get(token) != number for token, number in mine.items())
        if different or len(mine) != len(theirs):
            raise CompressionError(
                f"against: {against} has another vocabulary than {model} ({len(theirs)} and {len(mine)} entries, of which"
                f" {different} differ), so the two read other tokens; compare models of one tokenizer"
            )
    examples = [opened.examples["test"] for opened in (measured, baseline)]
    for column in ("input_ids", "labels"):
        if all(column in split.column_names for split in examples):
            first, second = (split.with_format("arrow")[:][column] for split in examples)
            if not first.equals(second):
                raise CompressionError(
                    f"against: {against} makes other {column} of the same rows than {model}; compare models whose"
                    " tokenizers put the same tokens around a text"
                )


def fitting_window(
    window: SlidingWindow | None, model: str, measured: Opened, baseline: Opened | None, against: str | None = None
) -> None:
    """A window that the models can read, and a token to begin with."""
    if window is None:
        return
    begin_of(measured.processor)
    for name, opened in ((model, measured), (against, baseline)):
        limit = None if opened is None or opened.skeleton is None else num_positions(opened.skeleton)
        if limit is not None and window.length > limit:
            raise CompressionError(f"window.length: {window.length} tokens are more than the {limit} positions of {name}")


def fitting_metrics(measured: Opened, task: Task, metrics: Sequence[Metric]) -> None:
    """Metrics against the labels that the data has, and what they need from outside."""
    found = Found([replace(one, path=f"metrics.{one.path}") for one in task.check_metrics(metrics, measured.labels)])
    found.refuse()
    for place, metric in enumerate(metrics):
        with found.collecting(f"metrics.{place}"):
            assert task.predicts is not None  # others refuse every metric
            metric.open(task.predicts)
    found.refuse()


def costs(
    cost: Cost | None, model: str, task: Task, measured: Opened, baseline: Opened | None, against: str | None = None
) -> None:
    """Runtimes that are there and take the models, and lengths that these read."""
    if cost is not None:
        skeletons = [opened.skeleton for opened in (baseline, measured) if opened is not None]
        with _at("cost"):
            check_cost(cost, skeletons, model, against, task)


@contextlib.contextmanager
def _at(key: str) -> Iterator[None]:
    """A refusal becomes one of what lies below a key."""
    try:
        yield
    except CompressionError as error:
        problems = [replace(one, path=f"{key}.{one.path}".rstrip(".")) for one in problems_of(error)]
        raise RecipeError(problems) from error


@dataclass(frozen=True, kw_only=True)
class ModelEvaluation(Checked):
    """A finished model, dense or compressed, and the rows that it is measured on.

    It is loaded as its files say: by `from_pretrained` of the task's Auto class, in the type that they have.

    Attributes:
        model: a folder or Hub id.
        task: what the model is for, with the columns it reads.
        data: where rows come from; `max_eval` limits how many are measured.
        against: a folder or Hub id of a baseline of the same task, vocabulary and labels, measured on the same rows.
        split: which rows: a split as a training has it (what is missing is cut by `seed`), or all of the data.
        metrics: beside the task's own.
        batch_size: examples at once.
        window: also predict every token of whole documents (causal_lm): window_perplexity and bits_per_byte.
        harness: also benchmarks of the LM Evaluation Harness, for language models.
        cost: also what the models cost: bytes, MACs, memory, latency, in turns.
        verdict: how much worse or larger than the baseline is tolerated.
        bootstrap: how intervals are drawn.
        examples: how many of the measured inputs the report shows, with what each model answers; 0 shows none.
        seed: of splits that are cut and of rows that are left out.
    """

    model: str
    against: str | None = None
    task: Task
    data: Data
    split: Measured = "test"
    metrics: tuple[Metric, ...] = ()
    batch_size: int = 16
    window: SlidingWindow | None = None
    harness: Harness | None = None
    cost: Cost | None = None
    verdict: Thresholds = field(default_factory=Thresholds)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    examples: int = 5
    seed: int = 0

    checks: ClassVar[tuple[Check, ...]] = (some_metrics, some_seed, shown_examples, rows_that_end, documents, benchmarks)
    opens: ClassVar[tuple[Opener, ...]] = (
        measured,
        baseline,
        comparable,
        fitting_window,
        fitting_metrics,
        known_benchmarks,
        costs,
    )

    @property
    def directions(self) -> dict[str, bool]:
        """What the metrics that were asked for give, and whether more of it is better."""
        return Evaluation(metrics=self.metrics).directions
