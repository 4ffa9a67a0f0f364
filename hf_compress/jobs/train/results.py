"""From a trained model to a folder worth publishing: checkpoint, report, manifest, card."""

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._folders import remove, written_beside
from hf_compress._runtimes import describe_storage
from hf_compress.calibration.examples import calibration_batches
from hf_compress.checkpoints.location import written_as_place
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.measuring import Measuring
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.shares import describe_reach, measure_shares, sparsity_of_layers
from hf_compress.export.configuration import without_publication
from hf_compress.export.example import example_for
from hf_compress.jobs.train.curves import curves, marks
from hf_compress.jobs.train.documents import describe_methods, write_documents
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.jobs.train.shrunk import Shrunk
from hf_compress.jobs.train.untrained import dense_row, untrained_rows
from hf_compress.quantization.reach import loading_advice
from hf_compress.tasks.opened import Opened


def publish_folder(
    recipe: TrainSettings,
    opened: Opened,
    folder: RunFolder,
    dense: str | None,
    model: Any,
    device: torch.device,
    *,
    shrunk: Shrunk | None = None,
    steps: str,
    dense_s: float | None,
    train_s: float | None,
    history: Sequence[dict[str, float]] = (),
) -> Report:
    """Write `<output_dir>/compressed`: it appears whole or not at all.

    Args:
        recipe: the run's.
        opened: its model, data and task, as the dense model takes them.
        folder: the run's.
        dense: where the dense model lies; None where `model` is it.
        model: the finalized student.
        device: where to measure.
        shrunk: what was trained in the place of the dense model, where that was shrunk.
        steps: how long each model was trained, in words.
        dense_s: seconds the dense model trained, if known.
        train_s: seconds the student trained, if known.
        history: what the student's training logged.
    """
    whole = opened
    opened = whole if shrunk is None else shrunk.opened
    measuring = Measuring(opened, recipe.evaluation, device, dense=None if opened.processor is whole.processor else whole)
    form = recipe.export_format
    folder.rows.mkdir(exist_ok=True)
    rows = []
    if dense is not None:
        loaded, dtype = whole.load_model(recipe.seed, dense), recipe.export.dtype
        rows.append(dense_row(loaded, folder.rows, measuring.dense_row, whole.processor, dtype, train_s=dense_s))
        rows += untrained_rows(
            loaded,
            folder.rows,
            measuring.row,
            shrunk=None if shrunk is None else functools.partial(shrunk.opened.load_model, recipe.seed),
            compression=recipe.compression,
            untrained=recipe.evaluation.untrained,
            batches=functools.partial(_batches, recipe, opened),
            form=form,
            dtype=dtype,
            processor=opened.processor,
            device=device,
        )
    with written_beside(folder.compressed) as part:
        example = example_for(form, opened, model, recipe.evaluation.batch_size)
        form.write(model, part, opened.processor, example, place=folder.compressed)
        rows.append(measuring.row(part, "ours", form, train_s=train_s, **measure_shares(model, recipe.pruning)))
        setting = {
            "optimizer steps": steps,
            "stored as": describe_storage(recipe.export.dtype, device),
            "seed": recipe.seed,
        }
        report = measuring.report(
            recipe.display_name,
            recipe.data,
            rows,
            setting,
            sparsity=None if recipe.pruning is None else recipe.pruning.target,
            reach=(*(() if shrunk is None else shrunk.removal.sentences()), *describe_reach(model, recipe.pruning)),
            loading=loading_advice(model),
            history=curves(history),
            marks=marks(recipe.compression, history),
            layers=measure_layers(part, sparsity_of_layers(model, recipe.pruning)),
        )
        write_documents(
            report,
            part,
            recipe=without_publication(recipe.to_plain(full=True)),
            base_model=_base_model(recipe),
            task=opened.task.name,
            methods=[*([] if recipe.shrink is None else [recipe.shrink.method]), *describe_methods(recipe.compression)],
            data=report.measured,
            shrink=None if shrunk is None else shrunk.removal.to_plain(),
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


def _batches(recipe: TrainSettings, opened: Opened) -> Iterable[Any] | None:
    """What a criterion's statistics are collected on."""
    if recipe.calibration is None:
        return None
    return calibration_batches(opened.examples["train"], opened.task.collator(opened.processor), recipe.calibration)


def _base_model(recipe: TrainSettings) -> str | None:
    """Where the weights came from."""
    return written_as_place(recipe.model) if isinstance(recipe.model, str) else None
