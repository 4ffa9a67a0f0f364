"""From a trained model to a folder with a smaller one: measured, shrunk, written, loaded back, measured again."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_compress._folders import remove, written_beside
from hf_compress._modules.finite import check_finite
from hf_compress._modules.types import cast_weights
from hf_compress._once import saying_once
from hf_compress._runtimes import describe_storage
from hf_compress.calibration.examples import calibration_batches
from hf_compress.checkpoints.companions import copy_companions
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.evaluation.measuring import Measuring
from hf_compress.evaluation.report import table
from hf_compress.evaluation.rows import Report
from hf_compress.export.example import example_for
from hf_compress.export.formats.dense import DenseFormat, write_dense
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.jobs.shrink.documents import write_documents
from hf_compress.jobs.shrink.settings import ShrinkSettings, own_class
from hf_compress.pruning.shrink.apply import shrink
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.removal import PlannedRemoval, Removal
from hf_compress.pruning.shrink.vocabulary_choice import without_rows
from hf_compress.pruning.shrink.within_budget import choose_parts
from hf_compress.tasks.opened import Opened

logger = logging.getLogger(__name__)

_CHOSEN_BY = {
    "weights": "weights",
    "activations": "what is written on examples",
    "taylor": "how the loss of examples would change",
}


@dataclass(frozen=True, kw_only=True)
class ShrinkResult:
    """What the job left behind.

    Attributes:
        folder: the shrunk model with its card, and its report where there were rows to measure it on.
        removal: what was removed, and what that saves.
        report: dense and shrunk; None without rows.
    """

    folder: Path
    removal: Removal
    report: Report | None

    def summary(self) -> str:
        """What the command line says at the end."""
        said = [self.removal.describe()]
        if self.report is not None:
            said += ["", table(self.report)]
        return "\n".join([*said, "", f"model and card  {self.folder}"])


@saying_once()
def run_shrink(job: ShrinkSettings) -> ShrinkResult:
    """Do what the job asks for.

    Raises:
        RecipeError: something is wrong with the recipe, its data, model or folder; nothing was written.
        CompressionError: a weight is not finite, an example does not reach a layer, or the result does not load as what it
            is; nothing is left then.
        DiskError: a full or failing disk.
    """
    found = job.open()
    opened, out, planned = found["inputs"], found["place"], found["planned"]
    dense, opened = opened, opened if planned.vocabulary is None else planned.vocabulary.opened
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = _loaded(job, dense)
    check_finite(model, job.export.dtype)
    form, rows = job.export.format.chosen(quantized=False), []
    measuring = Measuring(opened, job.evaluation, device, dense=None if dense is opened else dense)
    with written_beside(out) as part:
        if job.task is not None:
            (part / "dense").mkdir()
            write_dense(model, part / "dense", dense.processor, job.export.dtype)
            rows.append(measuring.dense_row(part / "dense", DenseFormat()))
            remove(part / "dense")
        model = model.float().to(device)  # as it was written it may be in another type
        small, removal = _removed(job, model, planned, opened)
        del model
        cast_weights(small, job.export.dtype)
        example = None if job.task is None else example_for(form, opened, small, job.evaluation.batch_size)
        form.write(small, part, opened.processor, example, place=out)
        report = None
        if job.task is None:
            copy_companions(resolve_folder(job.model, "model"), part)
        else:
            assert job.data is not None
            rows.append(measuring.row(part, "shrunk", form))
            setting = {
                **({} if removal.choice is None else {"chosen by": _CHOSEN_BY[removal.choice.importance]}),
                "stored as": describe_storage(job.export.dtype, device),
                "seed": job.seed,
            }
            report = measuring.report(job.display_name, job.data, rows, setting, reach=removal.sentences())
        write_documents(job, removal, report, type(small).__name__, part)
    return ShrinkResult(folder=out, removal=removal, report=report)


def _loaded(job: ShrinkSettings, opened: Opened) -> Any:
    """In fp32; by its own class where there is no task."""
    if job.task is not None:
        return opened.load_model(job.seed)
    return from_pretrained(own_class(opened, job.model), job.model, "model", dtype=torch.float32)


def _removed(job: ShrinkSettings, model: Any, planned: PlannedRemoval, opened: Opened) -> tuple[Any, Removal]:
    """The smaller model on the CPU, and what went: rows of the vocabulary, then parts of what is left.

    Args:
        job: what was asked for.
        model: whole.
        planned: what was asked for, held against it.
        opened: the inputs with the vocabulary that is left.
    """
    if planned.vocabulary is not None:
        model = without_rows(model, planned.vocabulary.choice)
    batches = _batches(job, opened, planned.plan)
    if planned.plan is None:
        return model.cpu(), planned.done(None)
    choice = choose_parts(model, planned.plan, batches)
    return shrink(model, choice).cpu(), planned.done(choice)


def _batches(job: ShrinkSettings, opened: Opened, plan: ShrinkPlan | None) -> Any:
    """What parts are chosen by; None for their weights."""
    if job.calibration is None:
        return None
    if plan is None or not plan.measures:
        logger.warning("calibration is set, and the plan names what stays: nothing is measured")
    rows = opened.examples["train"]
    if len(rows) < job.calibration.num_examples:
        logger.warning("calibration.num_examples=%d and the training data has %d", job.calibration.num_examples, len(rows))
    return calibration_batches(rows, opened.task.collator(opened.processor), job.calibration)
