"""Whether all processes were started with the same run: what differs would end in a wrong model, or wait for ever."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._sharding.contract import full_shape
from hf_compress.training.checkpoints import where_to_begin
from hf_compress.training.finalize import before_training

_ARGUMENTS = (
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "optim",
    "max_grad_norm",
    "bf16",
    "fp16",
    "seed",
    "save_strategy",
    "save_steps",
    "eval_strategy",
    "eval_steps",
    "logging_steps",
)
"""Arguments that decide what the processes do together, and when."""
_LIBRARIES = ("torch", "transformers", "accelerate", "compressed-tensors")


def begin_together(trainer: Any, resume: str | bool | None) -> str | bool | None:
    """Where a training begins, found in every process; what one refuses is refused in all.

    Args:
        trainer: about to train.
        resume: the argument of `train`.

    Raises:
        CompressionError: see `before_training`, `check_fed`, `where_to_begin` and `check_agreement`.
    """

    def begin() -> str | bool | None:
        before_training(trainer)
        rows: Any = getattr(trainer, "train_dataset", None)
        check_fed(len(rows) if hasattr(rows, "__len__") else None, trainer.args.world_size)
        return where_to_begin(resume, trainer)

    found: str | bool | None = _distributed.together(begin)
    check_agreement(trainer)
    return found


def check_fed(num_rows: int | None, processes: int) -> None:
    """Refuse more processes than there are training rows; a stream (None) does not know how many it has.

    Raises:
        CompressionError: some processes would train on the rows of others, unsaid.
    """
    if num_rows is not None and processes > 1 and num_rows < processes:
        raise CompressionError(
            f"the training data has {num_rows} rows for {processes} processes, so some would train on the rows of others;"
            " start fewer processes"
        )


def check_agreement(trainer: Any) -> None:
    """Refuse processes of other recipes, models or library versions. Every process must call it, and all refuse alike.

    Raises:
        CompressionError: naming the first process that differs from the first one, and in what.
    """
    if _distributed.world_size() == 1:
        return
    first, *others = _distributed.gather(_described(trainer))
    for number, other in enumerate(others, start=1):
        for name in [*first, *(name for name in other if name not in first)]:
            here, there = first.get(name, "nothing"), other.get(name, "nothing")
            if here != there:
                raise CompressionError(
                    f"process {number} was started with {name}: {there}, and process 0 with {name}: {here}; start all with"
                    " the same recipe, files and library versions"
                )


def _described(trainer: Any) -> dict[str, str]:
    libraries = {name: version(name) for name in _LIBRARIES}
    techniques = _flat(trainer.compression.to_public(), "")
    arguments = {name: str(getattr(trainer.args, name, None)) for name in _ARGUMENTS}
    digest = hashlib.sha256()
    for name, parameter in trainer.model.named_parameters():
        digest.update(f"{name} {tuple(full_shape(parameter))} {parameter.dtype} {parameter.requires_grad}\n".encode())
    model = {"model": type(trainer.model).__name__, "digest of the parameters": digest.hexdigest()[:12]}
    return {**libraries, **techniques, **arguments, **model}


def _flat(plain: Any, path: str) -> dict[str, str]:
    """Dotted keys -> values as text."""
    if not isinstance(plain, Mapping) or not plain:
        return {path: json.dumps(plain)}
    parts = (_flat(value, f"{path}.{key}" if path else str(key)) for key, value in plain.items())
    return {key: value for part in parts for key, value in part.items()}
