"""The main job, stage by stage; each stage is skipped when its output is there."""

import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hf_compress import _distributed
from hf_compress._disk import disk_errors
from hf_compress._errors import CompressionError
from hf_compress._folders import remove, written_beside
from hf_compress._once import saying_once
from hf_compress._problems import RecipeError
from hf_compress._sharding.contract import loading_whole
from hf_compress.evaluation.report import table
from hf_compress.evaluation.rows import Report
from hf_compress.export.formats.dense import write_dense
from hf_compress.export.push import published
from hf_compress.inputs.sections import FreshTokenizer
from hf_compress.inputs.streams import reading_late
from hf_compress.jobs.train.own_steps import OwnSteps
from hf_compress.jobs.train.plan import Plan
from hf_compress.jobs.train.rehearsal import rehearse
from hf_compress.jobs.train.results import publish_folder, read_report
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.jobs.train.shrunk import Shrunk, shrink_once, taught_by_dense
from hf_compress.tasks.opened import Opened
from hf_compress.training.agreement import check_same, flat, rows_in_words
from hf_compress.training.checkpoints import is_finished, last_whole_checkpoint
from hf_compress.training.compression import NOTHING, Compression
from hf_compress.training.loading import first_loads
from hf_compress.training.preemption import Preemption
from hf_compress.training.restore import restore_finished
from hf_compress.training.whole_model import in_one_process

logger = logging.getLogger(__name__)

_AGAIN = "run the same command with --resume, it goes on from the last checkpoint"
_TRAINED = "train_results.json"
"""In the dense model's folder, under the Trainer's name for it."""


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
            f"report          {self.folder / 'report.html'}, {self.folder / 'report.md'}"
        )


@saying_once()
def run_train(recipe: TrainSettings, resume: bool, only_export: bool = False) -> Any:
    """Train dense (where asked), train compressed, export, measure, report; publish, where the recipe says so.

    Args:
        recipe: the job.
        resume: go on with an interrupted run of the same recipe in its folder.
        only_export: make the result of a finished training, and never train.

    Raises:
        RecipeError: something is wrong with the recipe, its data, models or folder; nothing was written.
        PushError: all is made, and was not published.
        DiskError: a full or failing disk.
        Terminated: SIGTERM arrived, and a checkpoint is written.
    """
    check_same(flat(recipe.to_plain(full=True)))
    folder = RunFolder(recipe)
    try:
        _distributed.together(lambda: folder.check(resume=True))
    except CompressionError as error:
        _refuse_place(recipe, error)
    with disk_errors(folder.path, _AGAIN), contextlib.ExitStack() as until_the_end:
        _distributed.together(lambda: until_the_end.enter_context(folder.held()))
        _distributed.together(lambda: folder.check(resume))
        if only_export:
            _require_finished(folder)
        check_same({f"a finished result in {folder.compressed}": str(folder.compressed.exists())})
        if folder.compressed.exists():
            logger.info("%s is finished; nothing to do", folder.path)
            if _distributed.is_main():
                folder.tidy()
            result = Result(folder=folder.compressed, report=read_report(folder.compressed))
        else:
            result = _run(recipe, folder)
    return published(result, result.folder, recipe.export)


def _refuse_place(recipe: TrainSettings, error: CompressionError) -> None:
    """The folder is wrong, and data and model may be too; perhaps it is so for another process alone."""

    def refuse() -> None:
        problems = recipe.preflight()
        raise RecipeError(problems) if problems else error

    _distributed.together(refuse)


def _require_finished(folder: RunFolder) -> None:
    """Refuse to export what is not trained to its end, or exported already.

    Raises:
        CompressionError: naming how far it is.
    """
    if folder.compressed.exists():
        raise CompressionError(f"{folder.compressed} is made already; rename or remove it to make it anew")
    checkpoint = last_whole_checkpoint(folder.path, needs_optimizer=True)
    if checkpoint is None or not is_finished(checkpoint):
        where = "has no checkpoint" if checkpoint is None else f"is at {checkpoint.name}"
        raise CompressionError(
            f"{folder.path}: the training {where} and not at its end; hf-compress run with --resume goes on with it"
        )


def _run(recipe: TrainSettings, folder: RunFolder) -> Result:
    saved = folder.tokenizer if folder.tokenizer.exists() else None
    # Every process has looked at the folder before one writes to it.
    plan = _distributed.together(lambda: Plan.make(recipe, saved_tokenizer=saved))
    check_same({f"data ({name})": rows_in_words(split) for name, split in plan.opened.examples.items()})

    def begin() -> None:
        with disk_errors(folder.path, _AGAIN):
            trained = last_whole_checkpoint(folder.path, plan.args, needs_optimizer=True)
            if trained is None or not is_finished(trained, recipe.last_step):
                with loading_whole():
                    rehearse(recipe, plan.opened, folder, plan.args.device, plan.removal)
            folder.open()
            if isinstance(recipe.tokenizer, FreshTokenizer) and saved is None:
                _save_tokenizer(plan.opened.processor, folder.tokenizer)

    _distributed.first_alone(begin)
    with reading_late(recipe.data):
        dense, dense_s = _dense_stage(plan, folder)
        shrunk = None
        if plan.removal is not None and dense is not None:
            shrunk = shrink_once(recipe, plan.removal, plan.opened, folder, dense, plan.args.device)
        trainer = _compression_stage(plan, folder, dense, shrunk)
    plan.steps = recipe.last_step or trainer.state.max_steps  # as trained, perhaps by another number of processes
    model = _distributed.together(lambda: trainer.finalize(dtype=recipe.export.dtype))
    device = trainer.args.device
    if not _leave_process_group():
        return Result(folder=folder.compressed, report=None)
    with loading_whole():
        report = publish_folder(
            recipe,
            plan.opened,
            folder,
            dense,
            model,
            device,
            shrunk=shrunk,
            steps=plan.steps_in_words(),
            dense_s=dense_s,
            train_s=trainer.train_s(),
            history=trainer.state.log_history,
        )
    return Result(folder=folder.compressed, report=report)


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    with written_beside(folder) as part:
        tokenizer.save_pretrained(part)


def _trainer(plan: Plan, opened: Opened, model: Any, args: Any, compression: Compression = NOTHING) -> Any:
    metrics = plan.recipe.evaluation.metrics
    task, processor, evaluated = opened.task, opened.processor, opened.examples["validation"]
    cls, own = plan.recipe.trainer()
    collator = task.collator(processor)
    hears = [collator] if isinstance(collator, TrainerCallback) else []
    return cls(
        model=model,
        args=args,
        train_dataset=opened.examples["train"],
        eval_dataset=evaluated,
        data_collator=collator,
        processing_class=processor,
        compute_metrics=task.compute_metrics(evaluated, opened.raw["validation"], processor, metrics),
        preprocess_logits_for_metrics=task.preprocess_logits(),
        callbacks=[OwnSteps(plan.recipe.last_step), *hears],
        exact_task_loss=True,  # also in the dense stage, whose gradient would be multiplied like any other
        **dict(compression),
        **own,
    )


def _train(trainer: Any, checkpoints: Path, last: int | None = None) -> None:
    """Train from the last whole checkpoint, or from the start; one of the last step is only loaded."""
    checkpoint = last_whole_checkpoint(checkpoints, trainer.args, needs_optimizer=True)
    check_same({f"the last checkpoint in {checkpoints}": checkpoint.name if checkpoint else "none"})
    if checkpoint is not None and is_finished(checkpoint, last):
        logger.info("trained to its end: %s", checkpoint)
        restore_finished(trainer, checkpoint)
        return
    if checkpoint is not None:
        logger.info("resuming from %s", checkpoint)
    preemption = Preemption()
    trainer.add_callback(preemption)
    with preemption.heard():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)


def _dense_stage(plan: Plan, folder: RunFolder) -> tuple[str | None, float | None]:
    """Where the dense model lies, and how long it trained; None where the model that is trained is the dense one."""
    recipe = plan.recipe
    if recipe.is_plain:
        return None, None
    if recipe.dense is None:
        assert isinstance(recipe.model, str), recipe.model
        return recipe.model, None
    if folder.dense.exists():
        logger.info("the dense model is in %s", folder.dense)
        seconds, steps = _read_trained(folder.dense)
        plan.dense_steps = steps or plan.dense_steps
        return str(folder.dense), seconds
    logger.info("training the dense model")
    args = recipe.training_arguments(dense=True)
    model = _student(plan.opened, args)
    trainer = _trainer(plan, plan.opened, model, args)
    _train(trainer, folder.dense_training)
    model = in_one_process(trainer.model, folder.path)

    def write() -> None:
        with disk_errors(folder.path, _AGAIN), written_beside(folder.dense) as part:
            write_dense(model, part, plan.opened.processor)
            trained = {"train_runtime": trainer.train_s(), "global_step": trainer.state.global_step}
            (part / _TRAINED).write_text(json.dumps(trained) + "\n", encoding="utf-8")
        remove(folder.dense_training)

    _distributed.first_alone(write)
    return str(folder.dense), trainer.train_s()


def _read_trained(dense: Path) -> tuple[float | None, int | None]:
    """How long a finished dense stage trained, in seconds and steps; None where it does not say."""
    try:
        known = json.loads((dense / _TRAINED).read_text(encoding="utf-8"))
        return float(known["train_runtime"]), int(known["global_step"])
    except (OSError, ValueError, TypeError, KeyError):
        return None, None


def _compression_stage(plan: Plan, folder: RunFolder, dense: str | None, shrunk: Shrunk | None = None) -> Any:
    """The trained student inside its trainer."""
    recipe = plan.recipe
    logger.info("training the model" if recipe.is_plain else "training the compressed model")
    args = recipe.training_arguments(dense=False)  # anew: an engine's settings in them serve one Trainer only
    compression = recipe.compression
    opened = plan.opened
    if shrunk is not None:
        opened, compression = shrunk.opened, taught_by_dense(compression, shrunk.dense)
    model = _student(opened, args, dense if shrunk is None else None)
    trainer = _trainer(plan, opened, model, args, compression)
    _train(trainer, folder.path, recipe.last_step)
    return trainer


def _student(opened: Opened, args: Any, source: str | None = None) -> Any:
    """The model that is trained; where the first process alone loads it, without memory in the others."""
    alone = first_loads(args)

    def load() -> Any:
        return opened.load_model(args.seed, source, weights=_distributed.is_main() or not alone)

    with loading_whole():  # all that looks at a model before its training wants it so; an engine cuts it then
        return _distributed.together(load) if alone else load()


def _leave_process_group() -> bool:
    """End the process group; True in the one process that goes on to export and measure."""
    main = _distributed.is_main()
    _distributed.leave()
    return main
