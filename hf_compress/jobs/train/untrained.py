"""What a result is compared with: the dense model, and compression without training."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from hf_compress._modules.types import cast_weights
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.shares import measure_shares
from hf_compress.export.formats.dense import DenseFormat, write_dense
from hf_compress.pruning.prune import prune
from hf_compress.quantization.ptq import quantize
from hf_compress.training.compression import Compression

logger = logging.getLogger(__name__)


def dense_row(model: Any, place: Path, measure: Callable[..., Row], processor: Any, dtype: str, **facts: Any) -> Row:
    """The dense model's.

    Args:
        model: dense, on the CPU; stays as it is.
        place: where the checkpoint that is measured may lie.
        measure: the row of a folder, the format `form` that it was written in, and other facts.
        processor: saved beside the weights.
        dtype: that the weights are stored in.
        **facts: of the row.
    """
    folder = place / "dense"
    folder.mkdir()
    write_dense(model, folder, processor, dtype)
    return measure(folder, form=DenseFormat(), **facts)


def untrained_rows(
    model: Any,
    place: Path,
    measure: Callable[..., Row],
    *,
    shrunk: Callable[[], Any] | None = None,
    compression: Compression,
    untrained: bool,
    batches: Callable[[], Iterable[Any] | None],
    form: ExportFormat,
    dtype: str,
    processor: Any,
    device: torch.device,
) -> list[Row]:
    """The dense model shrunk, pruned and rounded in one go: what compression costs without training.

    Args:
        model: dense, on the CPU; compressed in place.
        place: where the checkpoints that are measured may lie.
        measure: the row of a folder, a name, the format it was written in, and other facts.
        shrunk: makes the model that was trained in the place of the dense one; None where the dense one was.
        compression: what the training did.
        untrained: whether compression without training is measured too.
        batches: of the calibration; asked where they are needed.
        form: the format of the result.
        dtype: of everything that is not quantized.
        processor: saved beside the weights.
        device: where a criterion's statistics are collected.
    """
    rows: list[Row] = []
    if shrunk is not None and untrained:
        model = shrunk()
        folder = place / "shrunk"
        folder.mkdir()
        write_dense(model, folder, processor, dtype)
        rows.append(measure(folder, "shrunk without training", DenseFormat()))
    if not (untrained and compression.edits_weights):
        return rows
    if compression.pruning is not None and compression.pruning.criterion.accumulates:
        logger.info(
            "no row 'compressed without training': criterion %r scores by the steps of a training",
            compression.pruning.criterion.name,
        )
        return rows
    if compression.keeps_zeros and compression.quantization is None:
        logger.info("no row 'compressed without training': pruning.masks=from_zeros prunes nothing")
        return rows
    compress_untrained(model, compression, dtype, batches(), device)
    folder = place / "untrained"
    folder.mkdir()
    form.write(model, folder, processor)
    shares = measure_shares(model, compression.pruning)
    return [*rows, measure(folder, "compressed without training", form, **shares)]


def compress_untrained(
    model: Any, compression: Compression, dtype: str, batches: Iterable[Any] | None, device: torch.device
) -> None:
    """Prune and round a dense model in one go, in place.

    Args:
        model: dense, on the CPU; stays there.
        compression: what its training would have done.
        dtype: of everything that is not quantized.
        batches: of the calibration, None without one.
        device: where a criterion's statistics are collected.
    """
    if compression.pruning is not None and not compression.keeps_zeros:
        needs_data = bool(compression.pruning.needs)
        if needs_data:
            model.to(device)
        prune(model, compression.pruning, batches)
        if needs_data:
            model.cpu()
    cast_weights(model, dtype)
    if compression.quantization is not None:
        quantize(model, compression.quantization)
