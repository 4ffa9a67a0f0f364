"""Whether a checkpoint can teach a student, before any of its weights are in memory."""

import contextlib
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

from hf_compress._errors import CompressionError
from hf_compress.distillation.correspondence import correspondence
from hf_compress.inputs.models import new_weights
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.tasks.opened import open_teacher
from hf_compress.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def check_checkpoint(model: str, student: "PretrainedConfig", tokenizer: Any, task: Task, key: str) -> None:
    """Compare configs, tokenizers where both are known, and the checkpoint's tensors with those that the task needs.

    Args:
        model: a folder or Hub id.
        student: the student's config.
        tokenizer: the student's, or None.
        task: what both do.
        key: what a refusal names, e.g. "distillation.teacher.model".

    Raises:
        CompressionError: it is not there, has other token ids or labels, or was not trained for the task.
    """
    config, own = open_teacher(model, task, key), None
    if tokenizer is not None:
        with contextlib.suppress(CompressionError):  # a teacher without a tokenizer is judged by its config alone
            own = from_pretrained(AutoTokenizer, model, key)
    try:
        correspondence(student, config, classes=task.head.classes, tokenizers=(tokenizer, own))
    except CompressionError as error:
        raise CompressionError(f"{key}: {error}") from error
    missing = new_weights(task.model_class(), model, key)
    if missing:
        raise CompressionError(
            f"{key}: {model} has no {missing[0]} ({len(missing)} tensors are missing), so it was not trained for"
            f" {task.name}; name a teacher that was"
        )
