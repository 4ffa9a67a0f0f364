"""From a trained model to a folder worth publishing: checkpoint, report, manifest, card."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._folders import remove, written_beside
from hf_compress._modules.types import cast_weights
from hf_compress._runtimes import describe_storage
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.shares import describe_reach, measure_shares
from hf_compress.evaluation.size import measure_size
from hf_compress.export.compressed_tensors import write_compressed
from hf_compress.export.dense import write_dense
from hf_compress.inputs.models import load_model
from hf_compress.jobs.train.documents import describe_machine, describe_methods, write_documents
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.pruning.prune import prune
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.reach import loading_advice

if TYPE_CHECKING:
    from hf_compress.jobs.train.plan import Plan


def publish_folder(
    plan: "Plan",
    folder: RunFolder,
    dense: str,
    model: Any,
    device: torch.device,
    *,
    dense_s: float | None,
    train_s: float | None,
) -> Report:
    """Write `<output_dir>/compressed`: it appears whole or not at all.

    Args:
        plan: the run's.
        folder: the run's.
        dense: where the dense model lies.
        model: the finalized student.
        device: where to measure.
        dense_s: seconds the dense model trained, if known.
        train_s: seconds the student trained, if known.
    """
    recipe = plan.recipe
    folder.rows.mkdir(exist_ok=True)
    rows = [_dense_row(plan, folder.rows / "dense", dense, device, dense_s)]
    if recipe.evaluation.untrained and recipe.compression.edits_weights:
        rows.append(_untrained_row(plan, folder.rows / "untrained", dense, device))
    with written_beside(folder.compressed) as part:
        write_model(plan, model, part, place=folder.compressed)
        rows.append(_measure(plan, part, "ours", device, train_s=train_s, **measure_shares(model, recipe.pruning)))
        report = Report(
            title=recipe.display_name,
            metric=plan.task.metric,
            greater_is_better=plan.task.greater_is_better,
            rows=tuple(rows),
            setting=_setting(plan, device),
            reach=describe_reach(model, recipe.pruning),
            loading=loading_advice(model),
        )
        write_documents(
            report,
            part,
            recipe=recipe.to_plain(full=True),
            base_model=_base_model(recipe),
            task=recipe.task,
            methods=describe_methods(recipe.compression),
        )
    remove(folder.rows)
    return report


def read_report(folder: Path) -> Report:
    """The report of a finished run.

    Raises:
        CompressionError: it is not there, or no report.
    """
    file = folder / "report.json"
    try:
        return Report.from_plain(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CompressionError(
            f"training.output_dir: {file} cannot be read, so the finished run in {folder.parent} is not whole; remove"
            f" {folder} to export and measure again"
        ) from error


def write_model(plan: "Plan", model: Any, folder: Path, place: Path | None = None) -> None:
    """The student as the recipe exports it, into a folder that exists; `place` is what refusals call it."""
    if plan.recipe.quantization is not None:
        write_compressed(model, folder, plan.processor, place=place)
    else:
        write_dense(model, folder, plan.processor, place=place)


def _dense_row(plan: "Plan", folder: Path, dense: str, device: torch.device, seconds: float | None) -> Row:
    model = load_model(plan.task.model_class(), dense, plan.config, plan.args.seed)
    folder.mkdir()
    write_dense(model, folder, plan.processor, plan.recipe.export.dtype)
    return _measure(plan, folder, "dense", device, train_s=seconds)


def _untrained_row(plan: "Plan", folder: Path, dense: str, device: torch.device) -> Row:
    """The dense model pruned and rounded in one go: what compression costs without training."""
    recipe = plan.recipe
    model = load_model(plan.task.model_class(), dense, plan.config, plan.args.seed)
    if recipe.pruning is not None:
        prune(model, recipe.pruning)
    cast_weights(model, recipe.export.dtype)
    if recipe.quantization is not None:
        quantize(model, recipe.quantization)
    folder.mkdir()
    write_model(plan, model, folder)
    return _measure(plan, folder, "compressed without training", device, **measure_shares(model, recipe.pruning))


def _measure(
    plan: "Plan",
    folder: Path,
    name: str,
    device: torch.device,
    **facts: Any,
) -> Row:
    """Reload with plain transformers and measure on the test split."""
    model = plan.task.model_class().from_pretrained(folder, trust_remote_code=False).to(device)
    metrics = plan.task.evaluate(
        model, plan.examples["test"], plan.processor, plan.recipe.evaluation.batch_size, f"measuring {name}"
    )
    size = measure_size(folder)
    return Row(
        name=name,
        metrics=metrics,
        file_bytes=size["file_bytes"],
        quantized_ratio=size["quantized_ratio"],
        **facts,
    )


def _base_model(recipe: TrainSettings) -> str | None:
    """Where the weights came from; a folder is written so that nobody takes it for a Hub id."""
    if not isinstance(recipe.model, str):
        return None
    local = Path(recipe.model).is_dir() and is_hub_id(recipe.model)
    return f"./{recipe.model}" if local else recipe.model


def _setting(plan: "Plan", device: torch.device) -> dict[str, Any]:
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in plan.examples.items())
    unit = "examples" if plan.task.labelled else f"blocks of {plan.recipe.data.length} tokens"
    return {
        "task": plan.task.name,
        "data": f"{plan.recipe.data.path} ({sizes} {unit})",
        **({} if plan.images is None else {"images": plan.images}),
        "optimizer steps": _steps(plan),
        "stored as": describe_storage(plan.recipe.export.dtype, device),
        "seed": plan.args.seed,
        **describe_machine(device),
    }


def _steps(plan: "Plan") -> str:
    """How long each model was trained."""
    if plan.dense_steps is None:
        return f"{plan.steps} compressed, from the given model"
    return f"{plan.dense_steps} dense, then {plan.steps} compressed"
