"""Heads that load as a task's own and have learned something else."""

from typing import TYPE_CHECKING

from hf_compress._errors import CompressionError
from hf_compress.tasks.heads import head_of_class
from hf_compress.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def refuse_other_head(
    model: str, base: "PretrainedConfig", task: Task, config: "PretrainedConfig", trained_anew: bool
) -> None:
    """Refuse a checkpoint whose head has tensors of the same names, and has learned something else.

    Where it is trained anew it may begin with what another task has learned, if it has as many labels.

    Args:
        model: the checkpoint.
        base: its own config.
        task: what it should do.
        config: the config for that.
        trained_anew: the job trains the head first.

    Raises:
        CompressionError: naming its class, or the problem that it was trained for.
    """
    for name in base.architectures or ():
        own = head_of_class(name)
        if own is None or own.name == task.head.name or not own.classes == task.head.classes == "labels":
            continue
        if not trained_anew:
            raise CompressionError(
                f"model: {model} is a {name}, whose head has learned another task than {task.name}; name a model that was"
                " trained for it"
            )
        if base.num_labels != config.num_labels:
            raise CompressionError(
                f"model: {model} is a {name} for {base.num_labels} labels, and {task.name} needs a head for"
                f" {config.num_labels}; save it without its head (model.base_model.save_pretrained), and a new one is made"
            )
    if trained_anew:
        return
    learned, wanted = (getattr(one, "problem_type", None) for one in (base, config))
    if learned is not None and learned != wanted:
        raise CompressionError(
            f"model: {model} was trained for problem_type {learned}, and the task asks for {wanted}; name a model that was"
            " trained for it"
        )
