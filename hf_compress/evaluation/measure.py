"""A written checkpoint as a row of the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.answers import answers_of
from hf_compress.evaluation.bootstrap import Bootstrap, Quantity, Summed, quantity_of
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.likelihoods import PERPLEXITY, likelihoods
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.evaluation.uncertainty import Group, uncertainties
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Shown

ROWS = Bootstrap()
"""How the intervals of a report's rows are drawn."""


def measure_folder(
    opened: Opened,
    folder: Path,
    name: str,
    form: ExportFormat,
    *,
    batch_size: int,
    device: torch.device,
    split: str = "test",
    metrics: Sequence[Metric] = (),
    shown: Callable[[list[Shown]], None] | None = None,
    num_shown: int = 0,
    **facts: Any,
) -> Row:
    """Load a checkpoint as those who use it will, and measure it by its task.

    Args:
        opened: task, processor and examples.
        folder: the checkpoint.
        name: of the row.
        form: the format it was written in.
        batch_size: examples at once.
        device: where to run.
        split: which examples.
        metrics: beside the task's own.
        shown: told the first rows, with what the model answers.
        num_shown: how many of them.
        **facts: other fields of the row.
    """
    task = opened.task
    model = form.load(task.model_class(), folder).to(device)
    examples, rows = opened.examples[split], opened.raw[split]
    kept = Kept()
    asked = (*metrics, kept)
    found = task.evaluate(model, examples, rows, opened.processor, batch_size, f"measuring {name}", asked)
    answers = answers_of(opened, model, kept, num_shown, split)
    if shown is not None:
        shown(answers)
    compared = None if task.predicts is None else task.all_metrics(metrics)
    facts |= {"answers": tuple(one.answer for one in answers), "intervals": intervals_of(kept, found, compared)}
    return row_of(folder, name, form, found, **facts)


def intervals_of(
    kept: Kept,
    found: Mapping[str, float],
    metrics: Sequence[Metric] | None,
    bootstrap: Bootstrap = ROWS,
    more: Sequence[Quantity] = (),
) -> dict[str, tuple[float, float]]:
    """Of the numbers that the kept rows add up to; where computing one anew may take long, there is none.

    Args:
        kept: rows, as they were counted.
        found: what was measured.
        metrics: of predictions; None where likelihoods were kept.
        bootstrap: how rows are drawn.
        more: other numbers of the same rows.
    """
    if len(kept.predictions) < 2:
        return {}
    quantities: list[Quantity]
    if metrics is None:
        nll, items = (numpy.array(column, dtype=numpy.float64) for column in (kept.predictions, kept.references))
        quantities = [likelihoods(nll, items, ("nll", PERPLEXITY))]
    else:
        made = [(metric, quantity_of(metric, kept.predictions, kept.references)) for metric in metrics]
        quantities = [one for metric, one in made if metric.quick or isinstance(one, Summed)]
    quantities += more
    if not quantities:
        return {}
    group = Group(unit="rows", quantities=(quantities,))
    no_matter = dict.fromkeys(found, True)  # one model is compared with none
    return {key: one.intervals[0] for key, one in uncertainties(group, [found], no_matter, bootstrap).items()}


def without_intervals(keys: Iterable[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """A sentence about numbers of a report's table that have no interval; empty where all have one.

    Args:
        keys: what the table shows.
        rows: of the report.
    """
    missing = [key for key in keys if any(key not in row.intervals for row in rows)]
    if not missing:
        return ()
    return (
        f"No interval: {', '.join(missing)}; it takes two rows or more, and a number that is known to be made of what each"
        " row adds.",
    )


def row_of(folder: Path, name: str, form: ExportFormat, metrics: dict[str, float], **facts: Any) -> Row:
    """The row of a checkpoint that was measured: with its size.

    Args:
        folder: the checkpoint.
        name: of the row.
        form: the format it was written in.
        metrics: what it reached.
        **facts: other fields of the row.
    """
    size = measure_size(folder, form.weight_files(folder))
    return Row(name=name, metrics=metrics, file_bytes=size["file_bytes"], quantized_ratio=size["quantized_ratio"], **facts)
