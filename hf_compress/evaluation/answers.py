"""What a model answers to the first rows that it was measured on."""

from typing import Any

from hf_compress.evaluation.kept import Kept
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Shown, shown_rows


def answers_of(opened: Opened, model: Any, kept: Kept, count: int, split: str = "test") -> list[Shown]:
    """What it writes behind their beginnings, where its task is shown so, else what it predicted.

    Args:
        opened: task, processor and examples.
        model: has been measured.
        kept: what the measuring compared.
        count: rows at most.
        split: of the examples.
    """
    if count == 0:
        return []
    task = opened.task
    if task.predicts is None:
        return (task.written(model, opened.examples[split], opened.processor, count) or []) if model.can_generate() else []
    return shown_rows(task, opened.raw[split], kept.predictions, kept.references, opened.labels, count)
