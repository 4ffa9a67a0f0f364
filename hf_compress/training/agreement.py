"""Whether all processes were started with the same run: what differs would end in a wrong model, or wait for ever."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._provenance import version
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
        CompressionError: see `before_training`, `check_fed`, `where_to_begin` and `check_same`.
    """

    def begin() -> str | bool | None:
        before_training(trainer)
        rows: Any = getattr(trainer, "train_dataset", None)
        check_fed(len(rows) if hasattr(rows, "__len__") else None, trainer.args.world_size)
        return where_to_begin(resume, trainer)

    found: str | bool | None = _distributed.together(begin)
    if _distributed.world_size() > 1:
        check_same(_described(trainer, found))
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


def check_same(known: Mapping[str, str]) -> None:
    """Refuse processes that were started with something else. Every process must call it, and all refuse alike.

    Args:
        known: name -> value, of this process.

    Raises:
        CompressionError: naming the first process that differs from the first one, and in what.
    """
    first, *others = _distributed.gather(dict(known))
    for number, other in enumerate(others, start=1):
        for name in [*first, *(name for name in other if name not in first)]:
            here, there = first.get(name, "nothing"), other.get(name, "nothing")
            if here != there:
                _distributed.refuse_in_all(
                    f"process {number} was started with {name}: {there}, and process 0 with {name}: {here}; start all with"
                    " the same recipe, files and library versions"
                )


def _described(trainer: Any, begin: str | bool | None) -> dict[str, str]:
    libraries = {name: version(name) for name in _LIBRARIES}
    techniques = flat(trainer.compression.to_public())
    arguments = {name: str(getattr(trainer.args, name, None)) for name in _ARGUMENTS}
    digest = hashlib.sha256()
    for name, parameter in trainer.model.named_parameters():
        digest.update(f"{name} {tuple(full_shape(parameter))} {parameter.dtype} {parameter.requires_grad}\n".encode())
    model = {"model": type(trainer.model).__name__, "digest of the parameters": digest.hexdigest()[:12]}
    data = {
        "train_dataset": rows_in_words(trainer.train_dataset),
        "eval_dataset": rows_in_words(trainer.eval_dataset),
        "resume_from_checkpoint": str(begin),
    }
    return {**libraries, **techniques, **arguments, **model, **data}


def rows_in_words(rows: Any) -> str:
    """How many there are, and the numbers in three of them; a stream is not read."""
    if isinstance(rows, Mapping):
        return ", ".join(f"{name}: {rows_in_words(part)}" for name, part in rows.items())
    if not hasattr(rows, "__len__"):
        return type(rows).__name__
    if not hasattr(rows, "with_format"):  # not one of the datasets library
        return f"{len(rows)} rows"
    digest = hashlib.sha256()
    plain = rows.with_format("arrow")  # what is stored: nothing is decoded, nothing drawn
    for place in sorted({0, len(rows) // 2, len(rows) - 1} if len(rows) else ()):
        digest.update(str(_numbers(plain[place].to_pylist())).encode())
    return f"{len(rows)} rows (digest {digest.hexdigest()[:12]})"


def _numbers(value: Any) -> Any:
    """Without names of files, which may be others on another machine, and without the content of any."""
    if isinstance(value, Mapping):
        return [_numbers(part) for part in value.values()]
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return value if isinstance(value, (int, float)) else None


def flat(plain: Any, path: str = "") -> dict[str, str]:
    """Dotted keys -> values as text."""
    if not isinstance(plain, Mapping) or not plain:
        return {path: json.dumps(plain)}
    parts = (flat(value, f"{path}.{key}" if path else str(key)) for key, value in plain.items())
    return {key: value for part in parts for key, value in part.items()}
