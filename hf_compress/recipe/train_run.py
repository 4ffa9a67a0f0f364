"""The main job, stage by stage; each stage is skipped when its output is there."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress.evaluation.report import Report, table
from hf_compress.export.dense import save_dense
from hf_compress.recipe.models import load_model
from hf_compress.recipe.plan import Plan
from hf_compress.recipe.problems import RecipeError
from hf_compress.recipe.results import publish_folder, read_report
from hf_compress.recipe.run_folder import RunFolder, last_complete_checkpoint
from hf_compress.recipe.sections import FreshTokenizer
from hf_compress.recipe.training_arguments import build_training
from hf_compress.training.trainer import CompressionTrainer

if TYPE_CHECKING:
    from hf_compress.recipe.jobs.train import Train

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run left behind.

    Attributes:
        folder: the compressed model with report and card.
        report: its rows; None on processes other than the first.
    """

    folder: Path
    report: Report | None

    def summary(self) -> str:
        """What the command line says at the end; nothing on processes other than the first."""
        if self.report is None:
            return ""
        return (
            f"\n{table(self.report)}\n\n"
            f"model and card  {self.folder}\n"
            f"report          {self.folder / 'report.md'}, {self.folder / 'report.png'}"
        )


def run_train(recipe: "Train", resume: bool) -> Result:
    """Train dense (where asked), train compressed, export, measure, report.

    Args:
        recipe: the job.
        resume: go on with an interrupted run of the same recipe in its folder.

    Raises:
        RecipeError: something is wrong with the recipe, its data, models or folder; nothing was written.
    """
    folder = RunFolder(recipe)
    try:
        folder.check(resume=True)
    except CompressionError:
        raise RecipeError(recipe.preflight()) from None  # the folder is wrong, and data and model may be too
    folder.check(resume)
    if folder.compressed.exists():
        logger.info("%s is finished; nothing to do", folder.path)
        if _distributed.is_main():
            folder.tidy()
        return Result(folder=folder.compressed, report=read_report(folder.compressed))
    saved = folder.tokenizer if folder.tokenizer.exists() else None
    plan = Plan.make(recipe, with_examples=True, saved_tokenizer=saved)
    _distributed.barrier()  # every process has looked at the folder before one writes to it
    if _distributed.is_main():
        folder.open()
        if isinstance(recipe.tokenizer, FreshTokenizer) and saved is None:
            _save_tokenizer(plan.processor, folder.tokenizer)
    _distributed.barrier()
    dense, dense_s = _dense_stage(plan, folder)
    trainer, train_s = _compression_stage(plan, folder, dense)
    model = trainer.finalize(dtype=recipe.export.dtype)
    device = trainer.args.device
    if not _leave_process_group():
        return Result(folder=folder.compressed, report=None)
    report = publish_folder(plan, folder, dense, model, device, dense_s=dense_s, train_s=train_s)
    return Result(folder=folder.compressed, report=report)


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    from hf_compress._folders import written_beside

    with written_beside(folder) as part:
        tokenizer.save_pretrained(part)


def _trainer(plan: Plan, model: Any, args: Any, **jobs: Any) -> CompressionTrainer:
    return CompressionTrainer(
        model=model,
        args=args,
        train_dataset=plan.examples["train"],
        eval_dataset=plan.examples["validation"],
        data_collator=plan.task.collator(plan.processor),
        processing_class=plan.processor,
        compute_metrics=plan.task.compute_metrics(),
        **jobs,
    )


def _train(trainer: CompressionTrainer, checkpoints: Path) -> float | None:
    """Train from the last whole checkpoint, or from the start; seconds, None after a resume."""
    checkpoint = last_complete_checkpoint(checkpoints)
    if checkpoint is not None:
        logger.info("resuming from %s", checkpoint)
    output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    return None if checkpoint is not None else float(output.metrics["train_runtime"])


def _dense_stage(plan: Plan, folder: RunFolder) -> tuple[str, float | None]:
    """Where the dense model lies, and how long it trained."""
    recipe = plan.recipe
    if recipe.dense is None:
        assert isinstance(recipe.model, str), recipe.model
        return recipe.model, None
    if folder.dense.exists():
        logger.info("the dense model is in %s", folder.dense)
        return str(folder.dense), None
    logger.info("training the dense model")
    args = build_training(recipe.training_mapping(dense=True))
    model = load_model(plan.task.model_class(), recipe.model, plan.config, args.seed)
    trainer = _trainer(plan, model, args)
    seconds = _train(trainer, folder.dense_training)
    if _distributed.is_main():
        save_dense(model, folder.dense, plan.processor)
        shutil.rmtree(folder.dense_training, ignore_errors=True)
    _distributed.barrier()
    return str(folder.dense), seconds


def _compression_stage(plan: Plan, folder: RunFolder, dense: str) -> tuple[CompressionTrainer, float | None]:
    """The trained student inside its trainer, and how long it trained."""
    recipe = plan.recipe
    logger.info("training the compressed model")
    model = load_model(plan.task.model_class(), dense, plan.config, plan.args.seed)
    trainer = _trainer(
        plan,
        model,
        plan.args,
        pruning=recipe.pruning,
        quantization=recipe.quantization,
        distillation=recipe.distillation,
    )
    return trainer, _train(trainer, folder.path)


def _leave_process_group() -> bool:
    """End the process group; True in the one process that goes on to export and measure."""
    main = _distributed.is_main()
    _distributed.leave()
    return main
