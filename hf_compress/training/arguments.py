"""`training:` is TrainingArguments verbatim; this checks it and builds it."""

import copy
import dataclasses
import enum
import importlib.util
import tempfile
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from hf_compress._errors import reason_of
from hf_compress._kinds import describe
from hf_compress._problems import Problem
from hf_compress._registry import unknown
from hf_compress._sharding.contract import loading_whole
from hf_compress.recipe.build import build
from hf_compress.training.compatibility import check_arguments, check_compatibility
from hf_compress.training.compression import NOTHING, Compression

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SIMPLE = (str, int, float, bool, types.NoneType)

_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "per_device_train_batch_size": (lambda value: value >= 1, "must be 1 or more"),
    "per_device_eval_batch_size": (lambda value: value >= 1, "must be 1 or more"),
    "gradient_accumulation_steps": (lambda value: value >= 1, "must be 1 or more"),
    "max_steps": (
        lambda value: value >= 1 or value == -1,
        "must be 1 or more; leave it out to train for num_train_epochs",
    ),
    "num_train_epochs": (lambda value: value > 0, "must be above 0"),
    "learning_rate": (lambda value: value >= 0, "must be 0 or more"),
    "weight_decay": (lambda value: value >= 0, "must be 0 or more"),
    "max_grad_norm": (lambda value: value >= 0, "must be 0 or more; 0 turns clipping off"),
    "seed": (lambda value: 0 <= value < 2**32, "must lie between 0 and 2**32 - 1"),
    "data_seed": (lambda value: 0 <= value < 2**32, "must lie between 0 and 2**32 - 1"),
    "dataloader_num_workers": (lambda value: value >= 0, "must be 0 or more"),
    "save_total_limit": (lambda value: value >= 1, "must be 1 or more; leave it out to keep every checkpoint"),
}
"""What TrainingArguments takes and training then fails on, or does something else with."""

FSDP_SETTINGS = (
    "version",
    "state_dict_type",
    "reshard_after_forward",
    "auto_wrap_policy",
    "transformer_layer_cls_to_wrap",
    "min_num_params",
    "cpu_offload",
    "activation_checkpointing",
    "cpu_ram_efficient_loading",
)
"""What transformers reads in `fsdp_config` for FSDP 2, with or without `fsdp_` before it; other keys it passes over."""

_REFUSED: dict[str, str] = {
    "resume_from_checkpoint": "a run finds its own checkpoints; leave this out and run with --resume",
    "push_to_hub": "pushes checkpoints and not the result; leave it out and write export.repo_id",
}
"""What the Trainer could do and a recipe does not."""


def check_training(training: dict[str, Any], path: str, cls: type | None = None) -> list[Problem]:
    """Unknown keys, wrong types and refused values, each with its path; then what TrainingArguments itself refuses.

    Args:
        training: the whole mapping.
        path: its dotted keys.
        cls: the TrainingArguments class; None = that of transformers.
    """
    return check_values(training, path, cls) or _attempt(lambda: build_training(training, cls), path)


def check_values(training: dict[str, Any], path: str, cls: type | None = None) -> list[Problem]:
    """The first half of `check_training`, which a part of a mapping can pass too.

    Args:
        training: a mapping of TrainingArguments.
        path: its dotted keys.
        cls: the TrainingArguments class; None = that of transformers.
    """
    from transformers import TrainingArguments

    cls = cls or TrainingArguments
    hints = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls) if field.init}
    problems: list[Problem] = []
    for key, value in training.items():
        at = f"{path}.{key}"
        if key not in fields:
            problems.append(Problem(path=at, message=unknown("key", str(key), fields).split(" (known:")[0]))
            continue
        found: list[Problem] = []
        choices = _choices(hints[key])
        if choices:
            if value not in choices:
                message = f"{describe(value)} given, one of {', '.join(choices)} expected"
                found.append(
                    Problem(path=at, message=unknown("value", value, choices) if isinstance(value, str) else message)
                )
        elif key == "fsdp_config" and isinstance(value, dict):
            found += [
                Problem(path=f"{at}.{name}", message=unknown("key", str(name), FSDP_SETTINGS).split(" (known:")[0])
                for name in value
                if str(name).removeprefix("fsdp_") not in FSDP_SETTINGS
            ]
        elif _is_simple(hints[key]):
            build(hints[key] | bool if key == "fsdp" else hints[key], value, at, found)  # text for the command line's sake
        if not found and key in _RANGES and value is not None and not _RANGES[key][0](value):
            found.append(Problem(path=at, message=f"{value} {_RANGES[key][1]}"))
        if not found and key == "deepspeed" and value is not None:
            found.extend(Problem(path=at, message=message) for message in _deepspeed_lacks(value))
        if not found and key in _REFUSED and value not in (None, False):
            found.append(Problem(path=at, message=_REFUSED[key]))
        problems.extend(found)
    return problems


def _deepspeed_lacks(value: Any) -> list[str]:
    """What is not there: the file that is named, or the package."""
    if isinstance(value, str) and not Path(value).is_file():
        return [f"there is no file {value}; name DeepSpeed's configuration, or write it here as keys"]
    if importlib.util.find_spec("deepspeed") is None:
        return ["DeepSpeed is not installed; pip install 'hf-compress[deepspeed]'"]
    return []


def check_trainer(
    training: dict[str, Any],
    path: str,
    compression: Compression = NOTHING,
    model: "PreTrainedModel | None" = None,
    cls: type | None = None,
) -> list[Problem]:
    """What only the Trainer and the optimizer refuse on this machine: packages, devices, what does not go with compression.

    A Trainer is made for a model of one weight in a temporary folder, and thrown away.

    Args:
        training: a mapping that `check_training` found nothing wrong with.
        path: its dotted keys.
        compression: what the compatibility table must agree to.
        model: the one that will be trained, for the rules that look at it; it may be without memory.
        cls: the TrainingArguments class; None = that of transformers.
    """

    def attempt() -> None:
        import torch
        from transformers import PreTrainedConfig, PreTrainedModel, Trainer
        from transformers.utils.import_utils import is_liger_kernel_available

        if training.get("use_liger_kernel") and not is_liger_kernel_available():
            raise ImportError(
                "use_liger_kernel needs the package liger-kernel; install it, or set use_liger_kernel to false"
            )
        with tempfile.TemporaryDirectory() as folder:
            args = build_training({**training, "output_dir": folder}, cls)
            if compression:
                check_arguments(args)
            rows: Any = [{"input": 0}]

            class OneWeight(PreTrainedModel):
                config_class = PreTrainedConfig

            small: Any = OneWeight(PreTrainedConfig())
            small.weight = torch.nn.Linear(1, 1)
            trainer = Trainer(model=small, args=args, train_dataset=rows, eval_dataset=rows)
            trainer.model = small if model is None else model
            check_compatibility(trainer, compression)
            trainer.model = small
            trainer.get_train_dataloader()
            if args.optim_target_modules is None:  # otherwise the optimizer looks for layers of the real model
                trainer.create_optimizer_and_scheduler(num_training_steps=2)

    return _attempt(attempt, path)


def build_training(training: dict[str, Any], cls: type | None = None) -> Any:
    """TrainingArguments from the recipe's mapping."""
    from transformers import TrainingArguments

    # Some write into the mappings that they are given.
    return (cls or TrainingArguments)(**copy.deepcopy(training))


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


def _attempt(action: Callable[[], Any], path: str) -> list[Problem]:
    """The refusal of a library as a problem; each raises its own kind, and all mean that the values do not work."""
    try:
        with loading_whole():  # arguments that are tried leave nothing behind for what is loaded next
            action()
    except Exception as error:
        return [Problem(path=path, message=reason_of(error, 1000))]
    return []


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_simple(hint: Any) -> bool:
    """True for scalars and unions of scalars; everything else is left to TrainingArguments itself."""
    return all(member in _SIMPLE for member in _members(hint))


def _choices(hint: Any) -> list[str]:
    """The values of an enumeration, which TrainingArguments takes as text."""
    found = [member for member in _members(hint) if isinstance(member, type) and issubclass(member, enum.Enum)]
    return [str(item.value) for item in found[0]] if found else []
