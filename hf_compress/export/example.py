"""A batch in use, for formats that follow the model on one."""

from typing import Any

from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.export.exported_format import ExportedFormat
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.opened import Opened


def example_for(form: ExportFormat, opened: Opened, model: Any, batch_size: int) -> dict[str, Any] | None:
    """The first test rows, as the model takes them; None where the format makes a batch of its own.

    A program takes nothing that it was not traced with: without token types it would answer for pairs of texts as if they
    were one.

    Args:
        form: what the model is written in.
        opened: its task, processor and rows.
        model: what is written.
        batch_size: rows at most.
    """
    if not isinstance(form, ExportedFormat):
        return None
    rows = opened.examples["test"].select(range(min(batch_size, len(opened.examples["test"]))))
    return model_inputs(next(iter(opened.task.batches(rows, opened.processor, batch_size))), model)
