"""From a trained model to a folder with a pruned one: measured, pruned, written, loaded back, measured again."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_compress._folders import remove, written_beside
from hf_compress._modules.finite import check_finite
from hf_compress._modules.types import cast_weights
from hf_compress._once import saying_once
from hf_compress._progress import progress
from hf_compress._runtimes import describe_storage
from hf_compress.calibration.examples import calibration_batches
from hf_compress.evaluation.measuring import Measuring
from hf_compress.evaluation.report import table
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.shares import describe_reach, measure_shares, sparsity_of_layers
from hf_compress.export.example import example_for
from hf_compress.export.formats.dense import DenseFormat, write_dense
from hf_compress.jobs.prune.documents import write_documents
from hf_compress.jobs.prune.settings import PruneSettings
from hf_compress.pruning.compute import check_cut
from hf_compress.pruning.fit import chosen
from hf_compress.pruning.one_shot import in_its_words
from hf_compress.pruning.prune import prune
from hf_compress.tasks.opened import Opened

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """What the job left behind.

    Attributes:
        folder: the pruned model with report and card.
        report: its rows.
    """

    folder: Path
    report: Report

    def summary(self) -> str:
        """What the command line says at the end."""
        return (
            f"\n{table(self.report)}\n\n"
            f"model and card  {self.folder}\n"
            f"report          {self.folder / 'report.html'}, {self.folder / 'report.md'}"
        )


@saying_once()
def run_prune(job: PruneSettings) -> PruneResult:
    """Do what the job asks for.

    Raises:
        RecipeError: something is wrong with the recipe, its data, model or folder; nothing was written.
        CompressionError: a weight is not finite, an example reaches a layer not at all, or the result does not load as what
            it is; nothing is left then.
        DiskError: a full or failing disk.
    """
    found = job.open()
    opened, out = found["inputs"], found["place"]
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = opened.load_model(job.seed)
    check_finite(model, job.export.dtype)
    with in_its_words():
        check_cut(chosen(model, job.pruning).modules, job.pruning)
    form = job.export.format.chosen(quantized=False)
    measuring = Measuring(opened, job.evaluation, device)
    with written_beside(out) as part:
        rows = [_dense_row(model, part / "dense", measuring, job.export.dtype)]
        seconds = _prune(model, job, opened, device)
        shares, reach = measure_shares(model, job.pruning), describe_reach(model, job.pruning)
        sparsity = sparsity_of_layers(model, job.pruning)
        cast_weights(model, job.export.dtype)
        example = example_for(form, opened, model, job.evaluation.batch_size)
        form.write(model, part, opened.processor, example, place=out)
        rows.append(measuring.row(part, "pruned", form, **shares))
        setting = {
            "pruned by": job.method(),
            **job.looked_at(opened),
            "pruned in": f"{seconds:.3g} s",
            "stored as": describe_storage(job.export.dtype, device),
            "seed": job.seed,
        }
        target = job.pruning.target
        report = measuring.report(job.display_name, job.data, rows, setting, sparsity=target, reach=reach)
        report = write_documents(job, report, sparsity, part)
    return PruneResult(folder=out, report=report)


def _dense_row(model: Any, folder: Path, measuring: Measuring, dtype: str) -> Row:
    """Of the model as it is, stored as the result will be."""
    folder.mkdir()
    write_dense(model, folder, measuring.opened.processor, dtype)
    row = measuring.row(folder, "dense", DenseFormat())
    remove(folder)
    return row


def _prune(model: Any, job: PruneSettings, opened: Opened, device: torch.device) -> float:
    """Prune in place; the seconds that it took."""
    begun = time.monotonic()
    batches: Any = None
    if job.needs_data:
        assert job.calibration is not None
        rows = opened.examples["train"]
        if len(rows) < job.calibration.num_examples:
            logger.warning(
                "calibration.num_examples=%d and the training data has %d", job.calibration.num_examples, len(rows)
            )
        batches = list(calibration_batches(rows, opened.task.collator(opened.processor), job.calibration))
        if job.solver is None and job.reconstruct is None and not job.in_order:  # else the blocks have a bar
            batches = progress(batches, f"collecting {', '.join(job.pruning.needs)}", leave=False)
        model.to(device)
    elif job.calibration is not None:
        logger.warning("calibration is set, and nothing that is asked for looks at data: nothing is collected")
    with in_its_words():
        prune(model, job.pruning, batches, **job.way())
    model.cpu()
    return time.monotonic() - begun
