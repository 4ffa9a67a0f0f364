"""Checkpoints of sharded runs: in which form accelerate wrote one, whether its files are whole, and reading it anywhere."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import FullyShardedDataParallelPlugin, load_fsdp_model, load_fsdp_optimizer
from accelerate.utils.constants import FSDP_MODEL_NAME, OPTIMIZER_NAME
from transformers.integrations.fsdp import get_fsdp_ckpt_kwargs
from transformers.trainer import SCHEDULER_NAME

from hf_compress._errors import CompressionError
from hf_compress._modules.plain_model import is_adapted
from hf_compress._safetensors import read_entries, weight_files

FULL, SHARDED = "FULL_STATE_DICT", "SHARDED_STATE_DICT"
"""accelerate's names: one file for everything, or a folder with a file per process (torch.distributed.checkpoint)."""


def form_of(checkpoint: Path) -> str | None:
    """In which form a sharded run has written it; None for what an unsharded one wrote."""
    if (checkpoint / f"{FSDP_MODEL_NAME}_0").is_dir():
        return SHARDED
    return FULL if (checkpoint / f"{FSDP_MODEL_NAME}.bin").is_file() else None


def is_unsharded(checkpoint: Path) -> bool:
    """Whether it holds a whole model as transformers writes it, and no run in shards wrote it."""
    return form_of(checkpoint) is None and checkpoint.is_dir() and bool(weight_files(checkpoint))


def missing_part(checkpoint: Path) -> str | None:
    """The first part of a sharded run's checkpoint that is not there; None where all are, and of other checkpoints."""
    form = form_of(checkpoint)
    for name in (FSDP_MODEL_NAME, OPTIMIZER_NAME):
        found = missing_shard(checkpoint / f"{name}_0") if form == SHARDED else None
        if form == FULL and not (checkpoint / f"{name}.bin").is_file():
            found = f"{name}.bin"
        if found is not None:
            return found
    return None


def missing_shard(folder: Path) -> str | None:
    """The first file of a folder of shards that is not there or is cut short, by what its index says."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    index = folder / ".metadata"
    if not index.is_file():  # it is written last
        return f"{folder.name}/{index.name}"
    try:
        entries = FileSystemReader(folder).read_metadata().storage_data or {}
    except Exception:  # what unpickling says of a file that is cut short
        return f"{folder.name}/{index.name}"
    needed: dict[str, int] = {}
    for entry in entries.values():
        needed[entry.relative_path] = max(needed.get(entry.relative_path, 0), entry.offset + entry.length)
    for name, size in sorted(needed.items()):
        file = folder / name
        if not file.is_file() or file.stat().st_size < size:
            return f"{folder.name}/{name}"
    return None


def cut_short(checkpoint: Path) -> str | None:
    """The first file of torch's or of safetensors that lacks its end; None where all have theirs, and without any."""
    for file in sorted(checkpoint.rglob("*")):
        if file.suffix not in (".pt", ".pth", ".bin") or not file.is_file():
            continue
        with file.open("rb") as stream:
            begins = stream.read(2)
        if not begins or (
            begins == b"PK" and not zipfile.is_zipfile(file)
        ):  # torch writes zip files, which end in an index
            return str(file.relative_to(checkpoint))
    try:
        if weight_files(checkpoint):
            read_entries(checkpoint)
    except CompressionError:
        return "weights in safetensors"
    return None


@contextlib.contextmanager
def read_as_written(plugin: Any, form: str) -> Iterator[None]:
    """The plugin reads checkpoints of this form, whatever it writes."""
    names = ("state_dict_type", "state_dict_config", "optim_state_dict_config")
    own = {name: getattr(plugin, name) for name in names}
    plugin.state_dict_config = plugin.optim_state_dict_config = None
    plugin.set_state_dict_type(form)
    try:
        yield
    finally:
        vars(plugin).update(own)


def load_weights_unsharded(trainer: Any, model: Any, checkpoint: Path, form: str) -> None:
    """The weights of a sharded run, into a model that is whole in every process; of a PEFT model what is trained of it.

    Raises:
        CompressionError: there is no weight that this run trains.
    """
    if form == SHARDED:
        load_fsdp_model(_reader(form), trainer.accelerator, model, str(checkpoint), **get_fsdp_ckpt_kwargs())
        return
    # accelerate lets one process read, for the others to be sent their shards
    stored = torch.load(checkpoint / f"{FSDP_MODEL_NAME}.bin", map_location="cpu", weights_only=True)
    model.load_state_dict(stored, strict=not is_adapted(model))
    missing = [name for name, one in model.named_parameters() if one.requires_grad and name not in stored]
    if missing and is_adapted(model):
        raise CompressionError(f"{checkpoint} has no {missing[0]}, which this run trains; resume from a checkpoint of it")


def load_optimizer_unsharded(trainer: Any, checkpoint: Path, form: str) -> None:
    """The optimizer's state of a sharded run, and where its learning rate is, in a run that does not shard."""
    load_fsdp_optimizer(_reader(form), trainer.accelerator, trainer.optimizer, trainer.model, str(checkpoint))
    trainer.lr_scheduler.load_state_dict(torch.load(checkpoint / SCHEDULER_NAME, weights_only=True))


def load_rate(trainer: Any, checkpoint: Path) -> None:
    """Where the learning rate is, for an optimizer that has nothing else to go on from."""
    trainer.lr_scheduler.load_state_dict(torch.load(checkpoint / SCHEDULER_NAME, weights_only=True))
    for group, rate in zip(trainer.optimizer.param_groups, trainer.lr_scheduler.get_last_lr(), strict=True):
        group["lr"] = rate


def is_stateless(optimizer: Any) -> bool:
    """SGD without momentum keeps nothing, and torch 2.13 fails where it is to load nothing from one file."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper
    return isinstance(optimizer, torch.optim.SGD) and not any(group["momentum"] for group in optimizer.param_groups)


def _reader(form: str) -> FullyShardedDataParallelPlugin:
    """A plugin by which every process reads everything."""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type=form)
    if form == FULL:
        plugin.state_dict_config.rank0_only = plugin.optim_state_dict_config.rank0_only = False
    return plugin
