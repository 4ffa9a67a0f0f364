"""`training:` is TrainingArguments verbatim; this checks it and builds it."""

import dataclasses
import types
import typing
from typing import Any, Union

from hf_compress._registry import unknown
from hf_compress.recipe.build import build
from hf_compress.recipe.problems import Problem

_SIMPLE = (str, int, float, bool, types.NoneType)


def check_training(training: dict[str, Any], path: str, cls: type | None = None) -> list[Problem]:
    """Unknown keys, wrong types and refused values, each with its path.

    Args:
        training: the mapping of the recipe.
        path: its dotted keys.
        cls: the TrainingArguments class; None = that of transformers.
    """
    from transformers import TrainingArguments

    cls = cls or TrainingArguments
    hints = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls) if field.init}
    problems: list[Problem] = []
    for key, value in training.items():
        if key not in fields:
            problems.append(Problem(path=f"{path}.{key}", message=unknown("key", str(key), fields).split(" (known:")[0]))
        elif _is_simple(hints[key]):
            build(hints[key], value, f"{path}.{key}", problems)
    if not problems:
        try:
            build_training(training, cls)
        except (ValueError, TypeError, ImportError) as error:
            problems.append(Problem(path=path, message=str(error).strip().splitlines()[0]))
    return problems


def build_training(training: dict[str, Any], cls: type | None = None) -> Any:
    """TrainingArguments from the recipe's mapping."""
    from transformers import TrainingArguments

    return (cls or TrainingArguments)(**training)


def planned_steps(args: Any, num_examples: int) -> int:
    """How many optimizer steps the Trainer will do on a map-style data set, by its own rule."""
    if args.max_steps > 0:
        return int(args.max_steps)
    per_process = -(-num_examples // args.world_size)
    batches = (
        per_process // args.train_batch_size if args.dataloader_drop_last else -(-per_process // args.train_batch_size)
    )
    accumulation = args.gradient_accumulation_steps
    per_epoch = max(batches // accumulation + int(batches % accumulation > 0), 1)
    return -int(-(args.num_train_epochs * per_epoch) // 1)


def _is_simple(hint: Any) -> bool:
    """True for scalars and unions of scalars; everything else is left to TrainingArguments itself."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return all(member in _SIMPLE for member in typing.get_args(hint))
    return hint in _SIMPLE
