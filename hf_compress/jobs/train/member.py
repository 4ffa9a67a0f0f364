"""One member of an ensemble that is trained: a train recipe that may compress nothing, and knows of the other members."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from hf_compress._errors import CompressionError, reason_of
from hf_compress._kinds import CheckedKinds
from hf_compress.distillation.configuration import Distillation
from hf_compress.inputs.data import check_seed
from hf_compress.inputs.sections import Data
from hf_compress.jobs.train.checks import MEMBER_CHECKS, Training
from hf_compress.jobs.train.recipe import TrainJob
from hf_compress.jobs.train.settings import Dense
from hf_compress.jobs.train.sources import OPENS
from hf_compress.pruning.configuration import Pruning
from hf_compress.quantization.configuration import Quantization
from hf_compress.tasks.task import Task
from hf_compress.training.residual import ResidualTrainer

_SUMMED = ("sequence_classification", "image_classification", "audio_classification")


def some_rows_seed(rows_seed: int | None) -> None:
    """A number that generators take."""
    _check(rows_seed, "rows_seed")


def some_bootstrap(bootstrap: int | None) -> None:
    """The same."""
    _check(bootstrap, "bootstrap")


def _check(seed: int | None, name: str) -> None:
    if seed is not None:
        try:
            check_seed(seed)
        except CompressionError as error:
            raise CompressionError(f"{name}: {error}") from error


def rows_to_draw(bootstrap: int | None, data: Data) -> None:
    """A sample is drawn of rows that are there."""
    if bootstrap is not None and data.streaming:
        raise CompressionError(
            "bootstrap: it draws among all training rows, which data.streaming does not know; leave streaming out"
        )


def on_the_way(
    until: int | None,
    training: Training,
    pruning: Pruning | None,
    quantization: Quantization | None,
) -> None:
    """A step of the training, which leaves a model that is as it should be."""
    if until is None:
        return
    if until < 1:
        raise CompressionError(f"until={until} must be 1 or more")
    steps = training.get("max_steps")
    if type(steps) is not int or steps < until:
        raise CompressionError(f"until={until} needs training.max_steps, at least as large, which schedules go by")
    if pruning is not None or quantization is not None:
        raise CompressionError(f"until={until}: pruning and quantization are complete at the last step alone; leave it out")


@dataclass(frozen=True, kw_only=True)
class Residual(metaclass=CheckedKinds):
    """A sum of finished members; the next one is trained on what it leaves over.

    Attributes:
        earlier: their folders, in order; none for the first.
        step_size: what each one's logits are multiplied by.
    """

    earlier: tuple[str, ...] = ()
    step_size: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise CompressionError(f"step_size={self.step_size} must be a finite number above 0")


def a_sum_to_learn_from(
    residual: Residual | None,
    task: Task,
    quantization: Quantization | None,
    distillation: Distillation | None,
    dense: Dense | None,
) -> None:
    """Logits that can be added, and one loss."""
    if residual is None:
        return
    if task.name not in _SUMMED:
        raise CompressionError(
            f"residual: logits are added of one label for a row ({', '.join(_SUMMED)}), not of {task.name}"
        )
    for name, given in (("quantization", quantization), ("distillation", distillation), ("dense", dense)):
        if given is not None:
            raise CompressionError(f"residual: its loss and its members go without {name}; leave {name} out")


@dataclass(frozen=True, kw_only=True)
class TrainMember(TrainJob, name="train-member"):
    """What `job: train-ensemble` does for each member; the other keys are those of `job: train`.

    Attributes:
        rows_seed: of splits that are cut and rows that are left out, which members share; by default training.seed.
        bootstrap: seed of a sample of the training examples, with replacement and as large as they are; None: all of them.
        until: the optimizer step behind which training ends, on a way that is planned to training.max_steps; None: that.
        residual: train it on what earlier members leave over (boosting); None: on the labels.
    """

    rows_seed: int | None = None
    bootstrap: int | None = None
    until: int | None = None
    residual: Residual | None = None

    checks = (*MEMBER_CHECKS, some_rows_seed, some_bootstrap, rows_to_draw, on_the_way, a_sum_to_learn_from)
    opens = OPENS

    @property
    def seed(self) -> int:
        """Of the rows; what the training draws goes by training.seed."""
        return super().seed if self.rows_seed is None else self.rows_seed

    @property
    def last_step(self) -> int | None:
        """`until`."""
        return self.until

    def trainer(self) -> tuple[Any, dict[str, Any]]:
        """The usual, or one whose loss is that of the sum with earlier members."""
        if self.residual is None:
            return super().trainer()
        earlier = [_finished(self.task, folder) for folder in self.residual.earlier]
        return ResidualTrainer, {"earlier": earlier, "step_sizes": [self.residual.step_size] * len(earlier)}

    def seen_rows(self, examples: Any) -> tuple[Any, dict[str, str]]:
        """The sample, and how many examples are in it and out of it."""
        drawn: dict[str, str] = {"training seed": str(super().seed)}
        if self.residual is not None and self.residual.earlier:
            drawn["boosting"] = f"trained on what {len(self.residual.earlier)} earlier leave over, and no answer by itself"
        if self.bootstrap is None:
            return examples, drawn
        places = bootstrap_sample(len(examples), self.bootstrap)
        seen = len(set(places))
        said = (
            f"seed {self.bootstrap}: {seen:,} of {len(examples):,} training examples, {len(examples) - seen:,} out of bag"
        )
        return examples.select(places), {**drawn, "bootstrap": said}


def _finished(task: Task, folder: str) -> Any:
    """An earlier member, in fp32.

    Raises:
        CompressionError: it is not there, or cannot be loaded.
    """
    try:
        return task.model_class().from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CompressionError(
            f"residual.earlier: {folder} cannot be loaded ({reason_of(error)}); train it first"
        ) from error


def bootstrap_sample(num_rows: int, seed: int) -> list[int]:
    """So many places of rows, drawn with replacement: each row is left out with probability (1 - 1/n)^n, about 0.37.

    Source: Breiman (1996), Bagging Predictors, https://doi.org/10.1007/BF00058655.

    Args:
        num_rows: n.
        seed: the same numbers for the same seed, on every machine.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_rows, (num_rows,), generator=generator).tolist()
