"""A checkpoint's cost, alone or in turns with a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._forward.macs import count_macs
from hf_compress._provenance import describe_machine
from hf_compress._runtimes import describe_storage
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.evaluation.cost.batches import LENGTH, batch_of, positions_of, takes_lengths
from hf_compress.evaluation.cost.configuration import Cost
from hf_compress.evaluation.cost.ensemble_macs import STAGES, macs_by_shares, shares_of
from hf_compress.evaluation.cost.loading import load_to_run
from hf_compress.evaluation.cost.memory import measure_memory
from hf_compress.evaluation.cost.parameters import count_parameters
from hf_compress.evaluation.cost.parts import Part, parts_of, storage_of
from hf_compress.evaluation.cost.report import CostReport, ModelCost, Timing, remarks_of
from hf_compress.evaluation.cost.timings import Loaded, time_models
from hf_compress.tasks.heads import Head, head_of_class
from hf_compress.tasks.task import Task

UNPACKED = (
    "{name} is packed, and plain transformers computes with what it unpacks: it is no faster and no smaller in memory than"
    " a dense model"
)
FORWARD_ONLY = "tokens are written one after the other in eager alone; {names}: forward passes only"


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is known of a model before it is loaded."""

    name: str
    folder: Path
    parts: Sequence[Part]
    head: Head

    @property
    def packed(self) -> bool:
        return any("quantization_config" in part.source.config for part in self.parts)


def measure_cost(
    model: str | Path, against: str | Path | None = None, task: Task | None = None, cost: Cost | None = None
) -> CostReport:
    """Bytes, parameters, MACs, memory and times of a finished checkpoint.

    Models are loaded as plain transformers loads them and run on batches made from their configs, without padding. With a
    baseline, both take turns in every round, and the report says where the rounds do not show that the model is faster.

    Args:
        model: a folder or Hub id.
        against: the same of a baseline, e.g. the dense model.
        task: what the models are for; by default what their class is.
        cost: what is measured, and how often.

    Raises:
        CompressionError: a model cannot be had or run, a runtime is missing, or lengths do not fit: said before
            anything is timed.
    """
    cost = cost or Cost()
    device, subjects = _subjects(model, against, task, cost)
    loaded = [
        Loaded(
            name=one.name,
            model=load_to_run(one.folder, one.head.auto_class, cost.dtype, device),
            writes=one.head.writes,
        )
        for one in subjects
    ]
    lengths = _lengths(loaded, cost)
    for one in loaded:
        with torch.no_grad():
            one.model(**batch_of(one.model, 1, lengths[0]))  # unpacks what is packed
    timings = time_models(loaded, cost, lengths, device)
    models = tuple(
        ModelCost(
            name=subject.name,
            storage=storage_of(subject.folder, subject.parts),
            parameters=count_parameters(one.model),
            macs=_macs(one.model, cost.batch, lengths, shares_of(one.model, subject.folder)[0]),
            memory=_memory(subject, cost, device, lengths),
            dtype=describe_storage(str(one.model.dtype).removeprefix("torch."), device),
            prepare_s=one.prepare_s,
        )
        for subject, one in zip(subjects, loaded, strict=True)
    )
    return CostReport(
        models=models,
        timings=tuple(timings),
        setting={
            **describe_machine(device),
            "threads": str(torch.get_num_threads()),
            "rounds": f"{cost.rounds} after {cost.warmup}",
            **{f"type of {one.name}": one.dtype for one in models},
        },
        remarks=(
            *(UNPACKED.format(name=one.name) for one in subjects if one.packed),
            *_cascades(subjects, loaded),
            *_forward_only(loaded, timings, cost),
            *remarks_of(timings, subjects[0].name),
        ),
    )


def check_cost(
    cost: Cost, skeletons: Sequence[Any], model: str | Path, against: str | Path | None = None, task: Task | None = None
) -> None:
    """Refuse what `measure_cost` would refuse, with models without memory.

    Args:
        cost: what is asked for.
        skeletons: the models without memory, a baseline first.
        model: see `measure_cost`.
        against: see there.
        task: see there.

    Raises:
        CompressionError: see there.
    """
    _, subjects = _subjects(model, against, task, cost)
    _lengths([Loaded(name="", model=one, writes=subjects[0].head.writes) for one in skeletons], cost)


def _subjects(
    model: str | Path, against: str | Path | None, task: Task | None, cost: Cost
) -> tuple[torch.device, list[_Subject]]:
    """Where to measure, and what, the baseline first."""
    device = _device(cost)
    subjects = [_subject(str(one), key, task) for key, one in (("against", against), ("model", model)) if one is not None]
    if len({one.name for one in subjects}) < len(subjects):
        keys = ("baseline", "model")
        subjects = [replace(one, name=f"{key} {one.name}") for key, one in zip(keys, subjects, strict=True)]
    _check_runtimes(cost, subjects, device)
    return device, subjects


def _device(cost: Cost) -> torch.device:
    if cost.device == "cuda" and not torch.cuda.is_available():
        raise CompressionError("device='cuda': this machine has no GPU that torch sees; write cpu")
    return torch.device(cost.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _subject(name: str, key: str, task: Task | None) -> _Subject:
    folder = resolve_folder(name, key)
    parts = parts_of(folder, key)
    classes = parts[0].source.config.get("architectures") or [""]  # an ensemble's head is that of its members
    head = task.head if task is not None else head_of_class(classes[0])
    if head is None:
        raise CompressionError(f"{key}: {name} does not say what its head {classes[0]!r} is for; name the task")
    shown = Path(name).name or folder.resolve().name
    return _Subject(name=shown, folder=folder, parts=parts, head=head)


def _check_runtimes(cost: Cost, subjects: Sequence[_Subject], device: torch.device) -> None:
    for runtime in cost.runtimes:
        missing = runtime.missing(device)
        if missing:
            raise CompressionError(f"runtimes: {missing}")
        for one in subjects:
            if one.packed and not runtime.takes_packed:
                raise CompressionError(
                    f"runtimes: {one.name} is packed by compressed-tensors, which exporters of transformers do not take;"
                    f" leave {runtime.name} out"
                )


def _lengths(loaded: Sequence[Loaded], cost: Cost) -> list[int | None]:
    """What to measure, found to fit every model."""
    if not all(takes_lengths(one.model) for one in loaded):
        if cost.length:
            raise CompressionError("length: the model's config fixes the shape of its inputs; leave it out")
        return [None]
    lengths: list[int | None] = [*cost.length] or [LENGTH]
    for one in loaded:
        for length in lengths:
            new = cost.new_tokens if one.writes and not one.model.config.is_encoder_decoder else 0
            most = positions_of(one.model)
            if new and length is not None and most is not None and length + new > most:
                raise CompressionError(
                    f"length={length} and {new} new_tokens behind it are more than the model's {most} positions; write"
                    f" {f'a length of at most {most - new}, or ' if most > new else ''}fewer new_tokens"
                )
            batch_of(one.model, 1, length)
    return lengths


def _forward_only(loaded: Sequence[Loaded], timings: Sequence[Timing], cost: Cost) -> list[str]:
    written = {one.runtime for one in timings if one.what == "next token"}
    names = [runtime.name for runtime in cost.runtimes if runtime.name not in written]
    wanted = cost.new_tokens and any(one.writes for one in loaded)
    return [FORWARD_ONLY.format(names=", ".join(names))] if names and wanted else []


def _cascades(subjects: Sequence[_Subject], loaded: Sequence[Loaded]) -> list[str]:
    known = [(one.name, shares_of(model.model, one.folder)) for one, model in zip(subjects, loaded, strict=True)]
    return [STAGES.format(name=name, how=how) for name, (shares, how) in known if shares is not None]


def _macs(
    model: Any, sizes: Sequence[int], lengths: Sequence[int | None], shares: tuple[float, ...] | None
) -> dict[str, int]:
    found = {}
    for size in sizes:
        for length in lengths:
            batch = batch_of(model, size, length)
            macs = count_macs(model, batch) if shares is None else macs_by_shares(model, batch, shares)
            found[" x ".join(map(str, batch[model.main_input_name].shape))] = macs
    return found


def _memory(subject: _Subject, cost: Cost, device: torch.device, lengths: Sequence[int | None]) -> dict[str, Any] | None:
    """With the largest batch."""
    if not cost.memory:
        return None
    longest = max((length for length in lengths if length is not None), default=None)
    return measure_memory(subject.folder, subject.head.auto_class, cost.dtype, device.type, max(cost.batch), longest)
