"""`compression.json` in a checkpoint: what was being done to the model, and how far it was."""

import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerState

from hf_compress import __version__
from hf_compress._errors import CompressionError, reason_of
from hf_compress._paths import in_public, public_names
from hf_compress._registry import dump
from hf_compress.distillation.configuration import Distillation
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.prune import measure_sparsity
from hf_compress.quantization.configuration import Quantization

SIDECAR = "compression.json"


def _jobs(pruning: Pruning | None, quantization: Quantization | None, distillation: Distillation | None) -> dict[str, Any]:
    jobs = {"pruning": pruning, "quantization": quantization, "distillation": distillation}
    plain = {name: None if job is None else dump(job, full=True) for name, job in jobs.items()}
    return _public(plain)


def _public(jobs: dict[str, Any]) -> dict[str, Any]:
    """Checkpoints are pushed, so they name a teacher's folder and not where it lies."""
    named: dict[str, Any] = in_public(jobs, public_names(jobs))
    return named


def sidecar(
    model: nn.Module,
    state: TrainerState,
    pruning: Pruning | None,
    quantization: Quantization | None,
    distillation: Distillation | None,
) -> dict[str, Any]:
    """The sidecar's content: version, step, the jobs as a recipe would write them, the measured sparsity."""
    return {
        "hf_compress": __version__,
        "step": state.global_step,
        "max_steps": state.max_steps,
        **_jobs(pruning, quantization, distillation),
        "sparsity": None if pruning is None else measure_sparsity(model, pruning)[""],
    }


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


def check_sidecar(
    known: dict[str, Any],
    checkpoint: str | Path,
    pruning: Pruning | None,
    quantization: Quantization | None,
    distillation: Distillation | None,
) -> None:
    """Refuse to resume a checkpoint under other settings than it was trained with.

    Raises:
        CompressionError: naming the job that differs.
    """
    jobs = _jobs(pruning, quantization, distillation)
    known = _public({name: known.get(name) for name in jobs})
    for name, wanted in jobs.items():
        # Through JSON, as the other side went: tuples become lists.
        if json.loads(json.dumps(wanted)) != known[name]:
            raise CompressionError(
                f"{checkpoint} was trained with {name}={json.dumps(known[name])} and this run has"
                f" {name}={json.dumps(wanted)}; resume with the same settings, or start a new output_dir"
            )
