"""A written checkpoint as a row of the report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Kept, Shown, shown_rows


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
    asked = (*metrics, kept) if num_shown and task.predicts is not None else metrics
    found = task.evaluate(model, examples, rows, opened.processor, batch_size, f"measuring {name}", asked)
    answers: list[Shown] = []
    if num_shown:
        own = task.written(model, examples, opened.processor, num_shown)
        answers = shown_rows(task, rows, kept, opened.labels, num_shown) if own is None else own
    if shown is not None:
        shown(answers)
    return row_of(folder, name, form, found, answers=tuple(one.answer for one in answers), **facts)


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
