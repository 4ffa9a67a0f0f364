"""Copies of the weights along the way."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_compress._errors import CompressionError
from hf_compress._folders import refuse_link
from hf_compress._registry import Reference
from hf_compress._sharding.contract import check_supported
from hf_compress._units import Point
from hf_compress.training.averaging.checkpoint import write_model
from hf_compress.training.averaging.points import Points, check_points
from hf_compress.training.averaging.tensors import full_state_dict

FOLDER = "snapshots"


@dataclass(kw_only=True, eq=False)
class Snapshots(TrainerCallback):
    """Writes the model at `begin`, `begin + every`, ... to `<output_dir>/snapshots/step-N`, as ordinary checkpoints.

    They are not rotated away, hold no optimizer, and can be members of a merge or an ensemble. With a cyclic learning rate
    `every` is one cycle, so that each is a minimum of its own. Step 0 is never written.

    Attributes:
        begin: the first; a step, or a share of all steps.
        every: steps between snapshots, or a share of all steps.

    Source: Huang et al. 2017, section 3.
    """

    begin: Point = "0%"
    every: Point = "20%"
    _points: Points = field(init=False, repr=False)

    reference: ClassVar[Reference] = Reference(
        authors="Huang, Li, Pleiss, Liu, Hopcroft, Weinberger",
        title="Snapshot ensembles: train 1, get M for free",
        year=2017,
        link="https://arxiv.org/abs/1704.00109",
        equation="section 3",
    )

    def __post_init__(self) -> None:
        check_points(self.begin, self.every)

    @staticmethod
    def folders(output_dir: str | Path) -> list[Path]:
        """The snapshots below `output_dir`, in the order of their steps."""
        found = Path(output_dir, FOLDER).glob("step-*")
        return sorted((folder for folder in found if folder.is_dir()), key=lambda folder: int(folder.name[len("step-") :]))

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refuse early."""
        check_supported(kwargs["model"], "weight averaging")
        if getattr(args, "deepspeed_plugin", None) is not None:
            raise CompressionError("snapshots under DeepSpeed are not supported; train with DDP or FSDP2")
        refuse_link(Path(str(args.output_dir), FOLDER))
        self._points = Points.resolve(self.begin, self.every, state.max_steps, "snapshots")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A run that was resumed writes the same snapshot again, with the same bits."""
        if not self._points.has(state.global_step):
            return
        model: nn.Module = kwargs["model"]
        tensors = full_state_dict(model, keep=args.should_save)
        if args.should_save:
            folder = Path(str(args.output_dir), FOLDER, f"step-{state.global_step}")
            write_model(model, tensors, folder, kwargs.get("processing_class"))
