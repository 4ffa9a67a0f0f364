"""Layers pruned one group at a time, an allocation out of what they cost, and what that is worth."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hf_compress._disk import disk_errors
from hf_compress._folders import held, part_of
from hf_compress._modules.finite import check_finite
from hf_compress._modules.ignored import say_left_out
from hf_compress._modules.matrix import matrix_size
from hf_compress._once import saying_once
from hf_compress._progress import progress
from hf_compress._provenance import describe_machine
from hf_compress._quiet import quiet
from hf_compress._version import __version__
from hf_compress.calibration.collect import Collected, collect
from hf_compress.calibration.examples import calibration_batches
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.jobs.sensitivity.journal import Journal
from hf_compress.jobs.sensitivity.result import Found, SensitivityResult, write_result
from hf_compress.jobs.sensitivity.settings import SensitivitySettings
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.fit import chosen
from hf_compress.pruning.prune import prune
from hf_compress.pruning.sensitivity import (
    Metrics,
    held_by,
    measure_sensitivity,
    sparsity_for,
    weights_restored,
)
from hf_compress.pruning.statistics import statistics_for
from hf_compress.tasks.opened import Opened

logger = logging.getLogger(__name__)

_AGAIN = "run the same command again, it goes on with what was measured"
_SPLITS = ("validation", "test")
Measure = Callable[[str], Metrics]


@saying_once()
def run_sensitivity(job: SensitivitySettings) -> SensitivityResult:
    """Do what the job asks for.

    Raises:
        RecipeError: something is wrong with the recipe, its data, model or folder; nothing was written.
        CompressionError: a weight is not finite, or the task measures no loss.
        DiskError: a full or failing disk.
    """
    found = job.open()
    opened, out = found["inputs"], found["place"]
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = opened.load_model(job.seed)
    check_finite(model)
    model.to(device)
    selection = chosen(model, job.pruning)
    modules = selection.modules
    say_left_out(selection.left_out, "pruning")
    if job.calibration is not None and not job.pruning.needs:
        logger.warning("the section calibration is not used: criterion %s needs no examples", job.pruning.criterion.name)

    def measure(split: str) -> Metrics:
        with quiet():
            examples, rows = opened.examples[split], opened.raw[split]
            metrics = opened.task.evaluate(model, examples, rows, opened.processor, job.batch_size, "")
        return {name: float(value) for name, value in metrics.items()}

    part = part_of(out)
    with disk_errors(out, _AGAIN), held(part, out):
        dense = {split: measure(split) for split in _SPLITS}
        collected = _collected(model, modules, job, opened)
        asked = {"version": __version__, "recipe": _decides(job), "dense": dense, "rows": _rows(job, opened)}
        journal = Journal(part, {**asked, "statistics": _digest(collected)})
        measured = measure_sensitivity(
            modules,
            job.pruning,
            lambda: measure("validation"),
            job.grid,
            by=job.group,
            dense=dense["validation"],
            stats=statistics_for(model, modules, job.pruning, collected),
            known=journal.measured,
            keep=journal.keep,
            progress="pruning layers one at a time",
        )
        result = SensitivityResult(folder=out, measured=measured, sparsity=job.pruning.sparsity, found=None)
        if job.pruning.pattern.any_sparsity:
            result = dataclasses.replace(result, found=_found(result, job, model, modules, collected, measure, dense))
        write_result(result, job, _setting(job, opened, device), part)
        journal.remove()
        part.rename(out)
    return result


def _collected(model: Any, modules: Mapping[str, nn.Module], job: SensitivitySettings, opened: Opened) -> Collected:
    """What the criterion needs, of the model as it is."""
    if job.calibration is None or not job.pruning.needs:
        return {}
    batches = calibration_batches(opened.examples["train"], opened.task.collator(opened.processor), job.calibration)
    needs = job.pruning.needs
    return collect(model, batches, needs, modules=modules, progress=f"collecting {', '.join(needs)}")


def _found(
    result: SensitivityResult,
    job: SensitivitySettings,
    model: Any,
    modules: Mapping[str, nn.Module],
    collected: Collected,
    measure: Measure,
    dense: Mapping[str, Metrics],
) -> Found:
    """The allocation, and all layers pruned by it and by uniform."""
    allocation, predicted = result.measured.allocation(result.sparsity)
    compared = {split: {"dense": dense[split]} for split in _SPLITS}
    sizes, there = {name: matrix_size(module) for name, module in modules.items()}, held_by(modules)
    # Where a layer holds more zeros than its share, the others get less, so that both have the same number of them.
    even = dataclasses.replace(job.pruning, sparsity=sparsity_for(sizes, there, result.sparsity))
    plans = {"uniform": even, "found": dataclasses.replace(job.pruning, allocation=allocation)}
    reached = {}
    for name, pruning in progress(plans.items(), "comparing allocations", leave=False):
        with weights_restored(modules):
            prune(model, pruning, collected)
            reached[name] = measure_sparsity(model, job.pruning)[""]
            for split in _SPLITS:
                compared[split][name] = measure(split)
    return Found(allocation=allocation, predicted=predicted, compared=compared, reached=reached)


def _digest(collected: Collected) -> str | None:
    """Of the statistics, which say what examples the criterion has seen; None where it has seen none."""
    if not collected:
        return None
    found = hashlib.sha256()
    for statistic in sorted(collected):
        for name, value in sorted(collected[statistic].items()):
            found.update(f"{statistic} {name} {tuple(value.shape)}".encode())
            found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _decides(job: SensitivitySettings) -> dict[str, Any]:
    """The recipe without the folder, which may be moved."""
    return {key: value for key, value in job.to_plain(full=True).items() if key != "output_dir"}


def _rows(job: SensitivitySettings, opened: Opened) -> dict[str, str]:
    columns = opened.task.columns()
    return {split: str(measured_rows(job.data, opened.raw[split], columns)["sha256"]) for split in _SPLITS}


def _setting(job: SensitivitySettings, opened: Opened, device: torch.device) -> dict[str, Any]:
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in opened.examples.items())
    return {
        "model": job.model,
        "task": opened.task.name,
        "data": f"{job.data.path} ({sizes} {opened.task.unit})",
        **opened.facts,
        "pruned by": f"criterion {job.pruning.criterion.name}, pattern {job.pruning.pattern.name}, by {job.group}",
        "batch size": job.batch_size,
        "seed": job.seed,
        **describe_machine(device),
    }
