"""One training with a cyclic learning rate, and a member at the end of each cycle."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress._registry import Reference
from hf_compress.jobs.train_ensemble.diversity import Diversity, Plain, check_number, with_training

_SCHEDULE = "cosine_with_restarts"
_ONE_RUN = "members are stages of one training"


@dataclass(frozen=True, kw_only=True)
class CycleSnapshots(Diversity, name="snapshots"):
    """The learning rate falls along a cosine from its start to 0 `num_members` times, and each time leaves a member.

    lr(t) = learning_rate / 2 * (cos(pi * ((t - w) mod c) / c) + 1), t >= w: w warmup steps, c = (T - w) // M steps in each
    of M cycles; training ends behind the last whole one. Together members cost one training of T steps. Optimizer, random
    numbers and order of rows go on: each member begins with the checkpoint that the one before it ends with.

    Source: Huang et al. (2017), equation 2; restarts are those of Loshchilov and Hutter (2017).

    Attributes:
        num_members: M.
    """

    one_by_one: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Huang, Li, Pleiss, Liu, Hopcroft, Weinberger",
        title="Snapshot Ensembles: Train 1, get M for free",
        year=2017,
        link="https://arxiv.org/abs/1704.00109",
        equation="equation 2",
    )

    num_members: int = 5

    def __post_init__(self) -> None:
        check_number(self.num_members)

    def recipes(self, base: Plain, seed: int, planned_steps: Callable[[], int]) -> dict[str, Plain]:
        """The base recipe, ended behind each cycle."""
        _check(base)
        training = dict(base.get("training", {}))
        steps, warmup = planned_steps(), training.pop("warmup_steps", 0)
        warmup = math.ceil(warmup * steps) if warmup < 1 else int(warmup)
        length = (steps - warmup) // self.num_members
        if length < 1:
            raise CompressionError(
                f"num_members={self.num_members} cycles do not fit into {steps} optimizer steps with {warmup} of warmup;"
                " train longer, or take fewer"
            )
        cyclic = with_training(
            {**base, "training": training},
            max_steps=warmup + length * self.num_members,
            warmup_steps=warmup,
            lr_scheduler_type=_SCHEDULE,
            lr_scheduler_kwargs={"num_cycles": self.num_members},
        )
        return {
            f"snapshot-{number}": {**cyclic, "until": warmup + length * number} for number in range(1, self.num_members + 1)
        }

    def begin(self, name: str, folders: Mapping[str, Path], recipe: Any) -> None:
        """The last checkpoint of the member before goes into the folder of this one, as if it had come so far itself."""
        place = list(folders).index(name)
        if place == 0 or folders[name].exists():
            return
        before = list(folders.values())[place - 1].glob("checkpoint-*")
        last = max(before, key=lambda folder: int(folder.name.removeprefix("checkpoint-")))
        with written_beside(folders[name]) as part:
            shutil.copytree(last, part / last.name)
            (part / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")


def _check(base: Plain) -> None:
    """Refuse what stages of one training cannot have.

    Raises:
        CompressionError: naming the key.
    """
    training = base.get("training", {})
    for key in ("pruning", "quantization", "dense"):
        if base.get(key) is not None:
            raise CompressionError(
                f"snapshots: {_ONE_RUN}, and train.{key} is complete at its end alone; leave it out, and compress"
                " members afterwards with diversity: recipes, each with a finished snapshot as its model"
            )
    if training.get("lr_scheduler_type", _SCHEDULE) != _SCHEDULE or training.get("lr_scheduler_kwargs"):
        raise CompressionError(
            "snapshots: the learning rate falls along a cosine in each cycle; leave train.training.lr_scheduler_type and"
            " lr_scheduler_kwargs out"
        )
    if training.get("warmup_ratio"):
        raise CompressionError(
            "snapshots: write train.training.warmup_steps, a number or a share, in place of warmup_ratio"
        )
    if training.get("save_strategy", "steps") != "steps" or training.get("save_only_model"):
        raise CompressionError(
            f"snapshots: {_ONE_RUN}, which goes on from whole checkpoints; leave train.training.save_strategy and"
            " save_only_model out"
        )
    if training.get("load_best_model_at_end"):
        raise CompressionError("snapshots: a member is the model at its cycle's end; leave load_best_model_at_end out")
