"""The train recipe as a value, which everybody reads; the job that it asks for is in `recipe.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._secrets import refuse_secrets
from hf_compress.calibration.configuration import Calibration
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.distillation.configuration import Distillation
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.export.configuration import Export
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.quantization.configuration import Quantization
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task import Task
from hf_compress.training.arguments import build_training
from hf_compress.training.compression import Compression
from hf_compress.training.trainer import CompressionSeq2SeqTrainer, CompressionTrainer


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Train the dense model first: the student's start, the default teacher and the report's first row.

    Attributes:
        training: TrainingArguments that differ from the recipe's `training`.
    """

    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "output_dir" in self.training:
            raise CompressionError("training.output_dir cannot be set here; the dense model goes to <output_dir>/dense")

    def stage(self, training: dict[str, Any]) -> dict[str, Any]:
        """What the dense stage sets differently from the recipe's `training`: its own values, and its folder."""
        return {**self.training, "output_dir": f"{training['output_dir']}/dense-training"}


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Recipe):
    """One model, trained smaller: what a train recipe says.

    Attributes:
        title: how reports and cards call the result; by default the last part of output_dir.
        model: a folder, a Hub id, or `config:` for fresh weights.
        tokenizer: a folder or Hub id, or `vocab_size:` for a fresh one; by default the model's.
        task: what the model is for, with the columns it reads.
        data: where examples come from.
        dense: train the dense model first.
        shrink: which parts of the dense model stay; the others are taken out before anything else is done.
        pruning: what to prune, how much, when.
        quantization: what to quantize, how, from when.
        distillation: who teaches, by which losses.
        calibration: which training examples a criterion's statistics are collected on, and parts are chosen by.
        training: TrainingArguments, verbatim.
        evaluation: how the report is measured.
        export: how the result is written.
    """

    title: str | None = None
    model: str | FreshModel
    tokenizer: str | FreshTokenizer | None = None
    task: Task
    data: Data
    dense: Dense | None = None
    shrink: ShrinkPlan | None = None
    pruning: Pruning | None = None
    quantization: Quantization | None = None
    distillation: Distillation | None = None
    calibration: Calibration | None = None
    training: dict[str, Any]
    evaluation: Evaluation = field(default_factory=Evaluation)
    export: Export = field(default_factory=Export)

    def __post_init__(self) -> None:
        refuse_secrets({"training": self.training, "dense": {} if self.dense is None else self.dense.training})
        super().__post_init__()

    @property
    def compression(self) -> Compression:
        """What is done to the model while it trains."""
        return Compression.among(vars(self))

    @property
    def export_format(self) -> ExportFormat:
        """The format that this run ends in."""
        return self.export.format.chosen(quantized=self.quantization is not None)

    @property
    def output_dir(self) -> str:
        """Where everything goes."""
        return str(self.training["output_dir"])

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        from transformers import TrainingArguments

        return int(self.training.get("seed", TrainingArguments.seed))

    @property
    def display_name(self) -> str:
        """The title, or the folder's name."""
        return self.title or self.output_dir.rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_plain(self) -> bool:
        """Nothing is compressed, so there is no dense model beside the one that is trained."""
        return not self.compression and self.shrink is None

    @property
    def last_step(self) -> int | None:
        """The optimizer step behind which training ends, where that is before the end of its schedules; else None."""
        return None

    def trainer(self) -> tuple[Any, dict[str, Any]]:
        """The Trainer's class, and what it takes that is this recipe's alone."""
        return (CompressionSeq2SeqTrainer if self.task.generates else CompressionTrainer), {}

    def seen_rows(self, examples: Any) -> tuple[Any, dict[str, str]]:
        """The training examples that this run sees, and what there is to say of that in reports."""
        return examples, {}

    def training_mapping(self, dense: bool = False) -> dict[str, Any]:
        """TrainingArguments with the task's defaults; for the dense stage with its own values and folder."""
        stage = self.dense.stage(self.training) if dense and self.dense is not None else {}
        return with_defaults(self.task, {**self.training, **stage}, self.evaluation.metrics)

    def training_arguments(self, dense: bool = False) -> Any:
        """The same as TrainingArguments, of the class that the task's Trainer takes."""
        return build_training(self.training_mapping(dense), arguments_class(self.task))


def arguments_class(task: Task | None) -> Any:
    """The TrainingArguments class of a task's Trainer; where the task was refused, the one with more keys."""
    from transformers import Seq2SeqTrainingArguments, TrainingArguments

    return Seq2SeqTrainingArguments if task is None or task.generates else TrainingArguments


def with_defaults(task: Task, training: dict[str, Any], metrics: Sequence[Metric] = ()) -> dict[str, Any]:
    """TrainingArguments with what the task and this machine need unless the recipe says otherwise.

    transformers takes more of everything but a loss to be better; of metrics of which less is better, it is told.

    Args:
        task: the recipe's.
        training: as the recipe has it.
        metrics: that were asked for beside the task's own.
    """
    import torch

    # Pinned memory without an accelerator is a warning on every data loader.
    pin = {} if torch.accelerator.is_available() else {"dataloader_pin_memory": False}
    best = str(training.get("metric_for_best_model")).removeprefix("eval_")
    lower = [key for metric in task.all_metrics(metrics) if not metric.greater_is_better for key in metric.gives]
    direction = {"greater_is_better": False} if best in lower else {}
    return {**pin, **direction, **task.training_defaults, **training}
