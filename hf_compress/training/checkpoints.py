"""Which checkpoints of a run are whole, and which one a run goes on from."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._folders import remove
from hf_compress.training.deepspeed import zero_stage
from hf_compress.training.sharded_checkpoint import cut_short, form_of, is_unsharded, missing_part
from hf_compress.training.sidecar import read_facts

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"
SHORT_STREAM = (
    "resuming at step %d: the data is a stream that ends before this step, and the Trainer skips batches of one pass only;"
    " the run goes on with other batches than an uninterrupted one"
)
"""A warning for data without a length."""


def clear_place(folder: Path, args: TrainingArguments) -> None:
    """Remove what lies where a checkpoint is about to be written. Every process must call it.

    A run that was killed may have left a part of a checkpoint there, and old and new files together could pass for a
    whole one, should this run be killed too.

    Args:
        folder: the checkpoint's; there or not.
        args: the run's.
    """
    if args.should_save and folder.is_dir():
        (folder / STATE).unlink(missing_ok=True)  # first, as a removal can be interrupted as well
        remove(folder)
    _distributed.barrier()


def last_whole_checkpoint(
    folder: Path, args: TrainingArguments | None = None, needs_optimizer: bool = False
) -> Path | None:
    """The newest checkpoint whose writing finished; a killed run leaves at most one that did not.

    The Trainer's first process writes trainer_state.json last, and waits for nobody: where several processes train, their
    random states may still be missing then.

    Args:
        folder: the run's output_dir.
        args: the run's; says how many processes it has where a checkpoint does not.
        needs_optimizer: also leave out checkpoints without the optimizer's state (`save_only_model`): a run that goes on
            from one would not be the run that was interrupted.
    """
    found: list[tuple[int, Path]] = []
    for candidate in folder.glob("checkpoint-*"):
        number = candidate.name.removeprefix("checkpoint-")
        if not number.isdigit():
            continue
        reason = _why_not(candidate, args, needs_optimizer)
        if reason is None:
            found.append((int(number), candidate))
        else:
            logger.warning("%s %s", candidate, reason)
    return max(found)[1] if found else None


def latest(args: TrainingArguments) -> str | bool:
    """What `train(resume_from_checkpoint=True)` goes on from; True where there is no checkpoint, which the Trainer refuses.

    Raises:
        CompressionError: there are checkpoints, and none is whole.
    """
    folder = Path(str(args.output_dir))
    found = last_whole_checkpoint(folder, args)
    if found is None and any(folder.glob("checkpoint-*")):
        raise CompressionError(f"{folder}: no checkpoint was written to its end; remove them and start again")
    return True if found is None else str(found)


def where_to_begin(resume: str | bool | None, trainer: Any) -> str | bool | None:
    """`train(resume_from_checkpoint=resume)` with the checkpoint's folder in the place of True; says what is not exact.

    Args:
        resume: the argument of `train`.
        trainer: the one that will train.

    Raises:
        CompressionError: see `latest` and `check_state`; or a part of a named checkpoint is missing.
    """
    begin = latest(trainer.args) if resume is True else resume
    if isinstance(begin, str):
        check_state(begin, trainer)
        _check_parts(Path(begin), trainer.args)
        note_inexact(begin, trainer.args)
    return begin


def check_state(checkpoint: str | Path, trainer: Any) -> None:
    """Refuse an optimizer's state that this run's way of sharding cannot read.

    Raises:
        CompressionError: it is DeepSpeed's and the run's is not, or the other way round, or of another number of processes
            or stage; or the run is one under FSDP and there is no model in it to be shared out.
    """
    folder = Path(checkpoint)
    found, wanted = _has_deepspeed(folder), bool(getattr(trainer, "is_deepspeed_enabled", False))
    foreign = getattr(trainer, "is_fsdp_enabled", False) and folder.is_dir() and form_of(folder) is None and not found
    if foreign and not (is_unsharded(folder) and isinstance(trainer.model, PreTrainedModel)):
        raise CompressionError(
            f"{checkpoint} was written by a run without FSDP and holds no model that transformers loads, so this run cannot"
            " share it out; resume without FSDP"
        )
    if found != wanted and (found or form_of(folder) or (folder / OPTIMIZER_NAME).is_file()):
        names = ("DeepSpeed's", "that of a run without it")
        raise CompressionError(
            f"{checkpoint}: the optimizer's state in it is {names[0 if found else 1]}, which this run cannot read; go on as"
            " it was written, or begin a new run in another output_dir with this folder as the model"
        )
    facts, stage = read_facts(checkpoint) or {}, zero_stage(trainer)
    if found and (facts.get("zero_stage", stage) == 3) != (stage == 3):
        raise CompressionError(
            f"{checkpoint} was written under ZeRO {facts['zero_stage']}, whose state ZeRO {stage} cannot read; go on as it"
            " was written, or begin a new run in another output_dir with this folder as the model"
        )
    known = facts.get("processes", trainer.args.world_size)
    if found and known != trainer.args.world_size:
        raise CompressionError(
            f"{checkpoint} was written by {known} processes, and DeepSpeed reads a state by as many as wrote it, which"
            f" {trainer.args.world_size} are not; start {known} processes, or begin a new run in another output_dir with"
            " this folder as the model"
        )


def _has_deepspeed(folder: Path) -> bool:
    """DeepSpeed writes this name last, when every process has written its part."""
    return (folder / "latest").is_file()


def _check_parts(checkpoint: Path, args: TrainingArguments) -> None:
    torn = _torn(checkpoint, _ranks((read_facts(checkpoint) or {}).get("processes"), args))
    if torn is not None:  # never of a folder that is not there, which the Trainer refuses
        raise CompressionError(f"{checkpoint} {torn}; name a checkpoint that was written to its end")


def note_inexact(checkpoint: str | Path, args: TrainingArguments) -> None:
    """Say where going on will not be exact: batches are shared out differently, or the optimizer starts anew."""
    folder = Path(checkpoint)
    if folder.is_dir() and not any(folder.glob("optimizer*")) and not _has_deepspeed(folder):
        logger.warning(
            "%s has no optimizer state (save_only_model): the run goes on with a fresh optimizer, not as an uninterrupted"
            " one",
            checkpoint,
        )
    known = (read_facts(checkpoint) or {}).get("processes", args.world_size)
    if known != args.world_size:
        logger.warning(
            "%s was written by %s processes and this run has %s: it goes on, with other batches and random numbers than an"
            " uninterrupted run",
            checkpoint,
            known,
            args.world_size,
        )


def read_state(checkpoint: Path) -> dict[str, Any]:
    """trainer_state.json of a whole checkpoint."""
    data: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return data


def is_finished(checkpoint: Path, last: int | None = None) -> bool:
    """True where the checkpoint is that of the last step, or of the one behind which the run was told to end."""
    state = read_state(checkpoint)
    return int(state.get("global_step", 0)) >= int(last or state.get("max_steps", 0)) > 0


def _why_not(checkpoint: Path, args: TrainingArguments | None, needs_optimizer: bool) -> str | None:
    """What keeps a run from going on from it, None where nothing does."""
    try:
        read_state(checkpoint)
        known = (read_facts(checkpoint) or {}).get("processes")
    except (OSError, ValueError):
        return "was not written to its end and is left out"
    ranks = _ranks(known, args)
    torn = _torn(checkpoint, ranks)
    if torn is not None:
        return f"{torn}, so it was not written to its end and is left out"
    if form_of(checkpoint) is None and not _has_deepspeed(checkpoint) and not (checkpoint / OPTIMIZER_NAME).is_file():
        if not needs_optimizer:
            return None
        return "has no optimizer state (save_only_model), so going on from it would differ; it is left out"
    if len(ranks) == 1 or (known is None and (checkpoint / "rng_state.pth").is_file()):
        return None  # the one process writes its random state before trainer_state.json
    late = [rank for rank in ranks if not (checkpoint / f"rng_state_{rank}.pth").is_file()]
    if late:
        return f"has no random state of process {late[0]}, so it was not written to its end and is left out"
    return None


def _torn(checkpoint: Path, ranks: range) -> str | None:
    """What of a checkpoint is not there or cut short, in words; None where nothing is."""
    missing = missing_part(checkpoint) or cut_short(checkpoint)
    if missing is not None:
        return f"has no whole {missing}"
    if _has_deepspeed(checkpoint):
        folder = checkpoint / (checkpoint / "latest").read_text(encoding="utf-8").strip()
        model = [file.name for file in folder.glob("*mp_rank_*_model_states.pt")]
        in_parts = any("zero_pp_rank_" in name for name in model)  # under ZeRO-3 alone
        for rank in ranks:
            own = f"zero_pp_rank_{rank}_mp_rank_"
            if not any(folder.glob(f"*{own}*_optim_states.pt")) or (in_parts and not any(own in name for name in model)):
                return f"lacks process {rank}'s part of DeepSpeed's state"
        if not model:
            return "lacks the model in DeepSpeed's state"
    return None


def _ranks(known: int | None, args: TrainingArguments | None) -> range:
    """The processes that wrote to this disk."""
    if args is not None and args.save_on_each_node:
        first = args.process_index - args.local_process_index
        return range(first, first + int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return range(known or (1 if args is None else args.world_size))
