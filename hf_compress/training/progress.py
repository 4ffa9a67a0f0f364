"""How far pruning and quantization are: whether the model is what was asked for, and what a checkpoint says of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerState

from hf_compress._errors import CompressionError
from hf_compress._modules.coverage import coverage
from hf_compress._modules.plain_model import is_adapted
from hf_compress._units import resolve_point
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.quantization.configuration import Quantization
from hf_compress.training.base_zeros import save_base_zeros
from hf_compress.training.calibrated import Statistics, no_statistics
from hf_compress.training.callbacks import PruningCallback, QuantizationCallback
from hf_compress.training.compression import Compression
from hf_compress.training.free_zeros import write_free_zeros


def was_pruned(known: Mapping[str, Any] | None, pruning: Pruning) -> bool:
    """True where a sidecar says that its model had the final sparsity; a plain Trainer's checkpoint has no sidecar."""
    return _reached(known, "pruned", pruning.schedule.end)


def was_quantized(known: Mapping[str, Any] | None, quantization: Quantization) -> bool:
    """True where a sidecar says that its model was trained with fake quantization on."""
    return _reached(known, "quantized", quantization.begin)


def _reached(known: Mapping[str, Any] | None, what: str, point: int | str) -> bool:
    if known is None:
        return False
    progress = known.get("progress")
    if isinstance(progress, Mapping):
        return progress.get(what) is True
    step, max_steps = known.get("step"), known.get("max_steps")  # written before progress was
    return isinstance(step, int) and isinstance(max_steps, int) and step >= resolve_point(point, max_steps)


class Progress:
    """What the callbacks have reached, for one Trainer.

    Args:
        pruning: the callback that prunes, or None.
        quantization: the callback that switches fake quantization on, or None.
    """

    def __init__(self, pruning: PruningCallback | None, quantization: QuantizationCallback | None) -> None:
        self.pruning = pruning
        self.quantization = quantization

    @classmethod
    def of(cls, compression: Compression, statistics: Statistics = no_statistics) -> "Progress":
        """With the callbacks of the techniques that edit weights, and what a criterion's statistics come from."""
        return cls(
            None if compression.pruning is None else PruningCallback(compression.pruning, statistics),
            None if compression.quantization is None else QuantizationCallback(compression.quantization),
        )

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """In the order in which they must run."""
        return [part for part in (self.pruning, self.quantization) if part is not None]

    @property
    def masks(self) -> Masks | None:
        """Those of the model in training; None before the first training, and without pruning."""
        return None if self.pruning is None else self.pruning.masks

    def logs(self) -> dict[str, float]:
        """The sparsity of the model in training, where it is pruned."""
        return {} if self.masks is None else {"sparsity": round(self.masks.sparsity().item(), 6)}

    @property
    def is_complete(self) -> bool:
        """True once the final sparsity is reached and fake quantization is on; neither is ever lost again."""
        return all(part is None or part.reached for part in (self.pruning, self.quantization))

    def was_complete(self, known: Mapping[str, Any] | None) -> bool:
        """The same of the model beside a sidecar."""
        return (self.pruning is None or was_pruned(known, self.pruning.pruning)) and (
            self.quantization is None or was_quantized(known, self.quantization.quantization)
        )

    def ready_step(self, max_steps: int) -> int:
        """The step from which the schedules leave the model complete."""
        points: list[int | str] = [0]
        if self.pruning is not None:
            points.append(self.pruning.pruning.schedule.end)
        if self.quantization is not None:
            points.append(self.quantization.quantization.begin)
        return max(resolve_point(point, max_steps) for point in points)

    def go_on_from(self, known: Mapping[str, Any] | None) -> None:
        """Take up what a checkpoint says.

        Args:
            known: its sidecar, None for a plain Trainer's.
        """
        if self.pruning is not None:
            self.pruning.go_on_from(known, was_pruned(known, self.pruning.pruning))
        if self.quantization is not None:
            on = None if known is None else was_quantized(known, self.quantization.quantization)
            self.quantization.go_on_from(on)

    def save(self, folder: Path, model: nn.Module) -> None:
        """What a checkpoint must carry beside weights and sidecar; one process writes."""
        if self.pruning is not None:
            self.pruning.accumulated.save(folder)
            if self.masks is not None and is_adapted(model):
                save_base_zeros(self.masks, folder)

    def load(self, checkpoint: Path) -> None:
        """Take it up again.

        Raises:
            CompressionError: it is not there.
        """
        if self.pruning is not None:
            self.pruning.accumulated.load(checkpoint)

    def forget(self) -> None:
        """The model in training is let go of: what is asked from now on is asked of another one."""
        if self.pruning is not None:
            self.pruning.masks = None

    def to_plain(self, model: nn.Module) -> dict[str, Any]:
        """For the sidecar: what is reached, zeros that no mask holds, and how much of the whole model the masks cover."""
        if self.pruning is None and self.quantization is None:
            return {}
        progress: dict[str, Any] = {}
        plain: dict[str, Any] = {"progress": progress}
        if self.pruning is not None:
            masks = self.masks
            progress["pruned"], progress["held"] = self.pruning.reached, self.pruning.held
            progress["free_zeros"] = None if masks is None else write_free_zeros(masks.free_zeros())
            masks = masks or Masks(model, self.pruning.pruning)
            covered = coverage(model, masks.modules)
            plain["pruning_coverage"] = covered.to_plain()
            plain["sparsity_of_all_weights"] = int(masks.num_zeros()) / max(covered.total, 1)
        if self.quantization is not None:
            progress["quantized"] = self.quantization.reached
        return plain

    def check(self, model: nn.Module, state: TrainerState) -> None:
        """Refuse to hand over a model that is not what was asked for.

        Raises:
            CompressionError: training stopped before the schedules ended, or zeros are missing.
        """
        if not self.is_complete:
            raise CompressionError(self._what_is_missing(state))
        if self.pruning is None:
            return
        masks, final = Masks(model, self.pruning.pruning), self.pruning.pruning.final
        zeros, wanted, total = int(masks.num_zeros()), masks.fewest_zeros(final), masks.num_weights()
        wanted = max(wanted, self.pruning.held)
        if zeros < wanted:
            raise CompressionError(
                f"the model has sparsity {zeros / total:.4f} and not {wanted / total:.4f}: something wrote to pruned"
                " weights after the last step"
            )
        lost = {} if self.masks is None else self.masks.lost()
        for name, count in lost.items():
            more = f" and those of {len(lost) - 1} more layers" if len(lost) > 1 else ""
            raise CompressionError(
                f"{count} weights of {name}{more} that pruning holds at zero are not zero: something wrote to them"
                " after the last step"
            )

    def _what_is_missing(self, state: TrainerState) -> str:
        step, max_steps = state.global_step, state.max_steps
        if not max_steps:
            return "the model was not trained yet, so nothing is pruned or quantized; call train() first"
        if step < self.ready_step(max_steps):
            return (
                f"training stopped at step {step} of {max_steps}, before pruning and quantization were complete; resume it"
                " with train(resume_from_checkpoint=True)"
            )
        lacking = "pruned" if self.pruning is not None and not self.pruning.reached else "trained with quantization"
        return (
            f"the checkpoint of step {step} that training went on from is not {lacking}, and no step has followed to"
            f" change that; raise max_steps above {max_steps}, or start from the model and not from the checkpoint"
        )
