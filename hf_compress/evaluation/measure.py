"""A written checkpoint as a row of the report."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.bootstrap import Bootstrap, Summed, resample
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Shown, shown_rows

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
    asked = metrics if task.predicts is None else (*metrics, kept)
    found = task.evaluate(model, examples, rows, opened.processor, batch_size, f"measuring {name}", asked)
    answers: list[Shown] = []
    if num_shown:
        own = task.written(model, examples, opened.processor, num_shown)
        said = (kept.predictions, kept.references, opened.labels, num_shown)
        answers = shown_rows(task, rows, *said) if own is None else own
    if shown is not None:
        shown(answers)
    facts |= {
        "answers": tuple(one.answer for one in answers),
        "intervals": _intervals(task.all_metrics(metrics), kept, found),
    }
    return row_of(folder, name, form, found, **facts)


def _intervals(
    metrics: Sequence[Metric], kept: Kept, found: Mapping[str, float], bootstrap: Bootstrap = ROWS
) -> dict[str, tuple[float, float]]:
    """Of the metrics that are sums over rows; others, whose every resample would be computed anew, have none here."""
    if len(kept.predictions) < 2:
        return {}
    summed = [
        Summed(statistics, metric.of_sums)
        for metric in metrics
        if (statistics := metric.statistics(kept.predictions, kept.references)) is not None
    ]
    drawn = resample(summed, bootstrap, "resampling rows") if summed else []
    return {key: bootstrap.interval(numbers) for one in drawn for key, numbers in one.items() if key in found}


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
