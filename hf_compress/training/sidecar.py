"""`compression.json` in a checkpoint: what was being done to the model, and how far it was."""

import json
from pathlib import Path
from typing import Any

from hf_compress import __version__
from hf_compress._errors import CompressionError, reason_of
from hf_compress.pruning.prune import measure_sparsity
from hf_compress.training.compression import Compression

SIDECAR = "compression.json"


def write_sidecar(trainer: Any, folder: Path) -> None:
    """Version, step, the techniques as a recipe would write them, the measured sparsity, and how far the run is."""
    pruning = trainer.compression.pruning
    data = {
        "hf_compress": __version__,
        "step": trainer.state.global_step,
        "max_steps": trainer.state.max_steps,
        **trainer.compression.to_public(),
        "sparsity": None if pruning is None else measure_sparsity(trainer.model, pruning)[""],
        "processes": trainer.args.world_size,
        "train_s": trainer.train_s(),
        **trainer.progress.to_plain(trainer.model),
    }
    (folder / SIDECAR).write_text(json.dumps(data, indent=2) + "\n")


def read_sidecar(checkpoint: str | Path) -> dict[str, Any] | None:
    """The sidecar of a checkpoint, or None where there is none (a checkpoint of a plain Trainer)."""
    file = Path(checkpoint) / SIDECAR
    if not file.is_file():
        return None
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CompressionError(f"{file} is damaged ({reason_of(error)}); resume from an earlier checkpoint") from error
    if not isinstance(data, dict):
        raise CompressionError(f"{file} is damaged (it holds no mapping); resume from an earlier checkpoint")
    return data


def check_sidecar(known: dict[str, Any] | None, checkpoint: str | Path, compression: Compression) -> None:
    """Refuse to resume a checkpoint under other settings than it was trained with; a plain Trainer's has none.

    Raises:
        CompressionError: naming the technique that differs.
    """
    difference = None if known is None else compression.difference(known)
    if difference is not None:
        raise CompressionError(
            f"{checkpoint} was trained {difference}; resume with the same settings, or start a new output_dir"
        )
