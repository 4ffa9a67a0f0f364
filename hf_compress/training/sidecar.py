"""`compression.json` in a checkpoint: what was being done to the model, and how far it was."""

from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.manifest import CHECKPOINT, MANIFEST, Manifest
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.training.compression import Compression
from hf_compress.training.deepspeed import zero_stage


def write_sidecar(trainer: Any, folder: Path) -> None:
    """The manifest of an unfinished run: the techniques as a recipe would write them, and how far they are.

    Every process must call it, because all count what they hold; those that save write.
    """
    pruning = trainer.compression.pruning
    facts = {
        "step": trainer.state.global_step,
        "max_steps": trainer.state.max_steps,
        "sparsity": None if pruning is None else measure_sparsity(trainer.model, pruning)[""],
        "processes": trainer.args.world_size,
        **({} if zero_stage(trainer) is None else {"zero_stage": zero_stage(trainer)}),
        "train_s": trainer.train_s(),
        **trainer.progress.to_plain(trainer.model),
    }
    if trainer.args.should_save:
        if folder.name.startswith(f"{PREFIX_CHECKPOINT_DIR}-"):
            trainer.progress.save(folder, trainer.model)
        Manifest(kind=CHECKPOINT, recipe=trainer.compression.to_public(), facts=facts).write(folder)


def read_sidecar(checkpoint: str | Path) -> Manifest | None:
    """The sidecar of a checkpoint, or None where there is none (a checkpoint of a plain Trainer).

    Raises:
        CompressionError: it is damaged, or it is that of a result.
    """
    if not (Path(checkpoint) / MANIFEST).is_file():
        return None
    known = Manifest.read(checkpoint, "resume from an earlier checkpoint")
    if known.kind != CHECKPOINT:
        raise CompressionError(
            f"{checkpoint} is the result of a {known.kind} job and not a checkpoint of a training; name a checkpoint-<step>"
        )
    return known


def read_facts(checkpoint: str | Path) -> dict[str, Any] | None:
    """How far the run of a checkpoint was, or None for that of a plain Trainer."""
    known = read_sidecar(checkpoint)
    return None if known is None else known.facts


def go_on_from(trainer: Any, checkpoint: str) -> None:
    """Take up what a checkpoint's sidecar says; weights and optimizer are restored by the host, with DeepSpeed by itself.

    Raises:
        CompressionError: the checkpoint is that of another compression.
    """
    known = read_sidecar(checkpoint)
    check_sidecar(known, checkpoint, trainer.compression)
    for part in (trainer._clock, trainer.progress, trainer._best_model):
        part.go_on_from(None if known is None else known.facts)
    trainer.progress.load(Path(checkpoint))


def check_sidecar(known: Manifest | None, checkpoint: str | Path, compression: Compression) -> None:
    """Refuse to resume a checkpoint under other settings than it was trained with; a plain Trainer's has none.

    Raises:
        CompressionError: naming the technique that differs.
    """
    difference = None if known is None else compression.difference(known.recipe)
    if difference is not None:
        raise CompressionError(
            f"{checkpoint} was trained {difference}; resume with the same settings, or start a new output_dir"
        )
