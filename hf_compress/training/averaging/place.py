"""Where an average lies while a checkpoint is being written, and after."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainingArguments

from hf_compress._folders import refuse_link, remove, replace
from hf_compress.training.averaging.average import Average
from hf_compress.training.averaging.checkpoint import FOLDER, read_average, write_average, write_model

WAITING = "_averaged"
"""Below output_dir: averages whose checkpoint is not finished. Pushes leave out names that begin with an underscore."""


class Place:
    """The folders of one average in one run.

    No hook lies between the weights and `trainer_state.json`, which makes a checkpoint whole. So the average is written
    before the Trainer saves, to a waiting place, and moved into the checkpoint as soon as that is there: before it is
    pushed, else in `on_save`. Written to `checkpoint-N` at once, it would make a folder that looks like the latest
    checkpoint, and stays that when the evaluation or the save that follow fail.

    Args:
        name: of the average.
        args: the run's.
        settings: what must be equal for a run to go on with the average.

    Attributes:
        staged: the step whose average was written last.

    Raises:
        CompressionError: a symbolic link lies where averages are written and removed.
    """

    def __init__(self, name: str, args: TrainingArguments, settings: dict[str, Any]) -> None:
        self.name, self.settings = name, settings
        self.output = Path(str(args.output_dir))
        self.writes = bool(args.should_save)
        self.given = args.resume_from_checkpoint
        self.staged: int | None = None
        for folder in (WAITING, FOLDER):
            refuse_link(self.output / folder)

    def checkpoint(self, step: int) -> Path:
        """The Trainer's folder of a step."""
        return self.output / f"checkpoint-{step}"

    def _waiting(self, step: int) -> Path:
        return self.output / WAITING / f"{self.name}-{step}"

    def stage(self, average: Average, model: nn.Module, step: int, processing_class: Any) -> None:
        """Write the average of a step. Every process must call it."""
        average.leave()
        write_average(average, model, self._waiting(step), self.settings, processing_class, self.writes)
        self.staged = step

    def deliver(self, step: int) -> None:
        """Move it into the checkpoint, if both are there."""
        if self.writes and self._waiting(step).is_dir() and self.checkpoint(step).is_dir():
            replace(self._waiting(step), self.checkpoint(step) / FOLDER / self.name, below=self.output)
            self._clear_empty()

    def read(self, average: Average, model: nn.Module, step: int, check_weights: bool) -> bool:
        """Go on from the checkpoint of a step; False where no average is found.

        A callback is not told which checkpoint a run resumes from, only the step. So args.resume_from_checkpoint is looked
        at first, then output_dir, and `read_average` compares the weights.
        """
        folders = [self.checkpoint(step) / FOLDER / self.name, self._waiting(step)]
        if isinstance(self.given, str) and Path(self.given).is_dir():
            folders.insert(0, Path(self.given) / FOLDER / self.name)
        for folder in folders:
            if folder.is_dir():
                read_average(average, model, folder, self.settings, check_weights)
                return True
        return False

    def settle(self, step: int) -> None:
        """Finish what a killed run left between its checkpoint and its average, and clear the rest away."""
        if not (self.checkpoint(step) / FOLDER / self.name).is_dir():
            self.deliver(step)
        self.clear()

    def read_from(self, average: Average, model: nn.Module, checkpoint: Path) -> bool:
        """Go on from a known checkpoint; False where it holds no average."""
        folder = checkpoint / FOLDER / self.name
        if folder.is_dir():
            read_average(average, model, folder, self.settings, check_weights=False)
        return folder.is_dir()

    def write_final(self, average: Average, model: nn.Module, processing_class: Any) -> None:
        """The result of the run. Every process must call it."""
        tensors = average.state_dict(model, keep=self.writes)
        if self.writes:
            write_model(model, tensors, self.output / FOLDER / self.name, processing_class)

    def clear(self) -> None:
        """Remove what waits for checkpoints that never came."""
        if self.writes and (self.output / WAITING).is_dir():
            for folder in (self.output / WAITING).glob(f"*{self.name}-*"):
                if folder.name.lstrip("_").rpartition("-")[0] == self.name:
                    remove(folder, below=self.output)
            self._clear_empty()

    def _clear_empty(self) -> None:
        waiting = self.output / WAITING
        if waiting.is_dir() and not any(waiting.iterdir()):
            waiting.rmdir()
