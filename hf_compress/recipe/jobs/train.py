"""The main job: fine-tune, prune, quantize and distil, export, evaluate, report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.distillation.configuration import Distillation
from hf_compress.pruning.configuration import Pruning
from hf_compress.quantization.configuration import Quantization
from hf_compress.recipe.problems import Problem, problems_of
from hf_compress.recipe.recipes import Recipe
from hf_compress.recipe.sections import Data, Dense, Evaluation, Export, FreshModel, FreshTokenizer
from hf_compress.recipe.tasks import TASKS
from hf_compress.recipe.training_arguments import check_training, check_values


@dataclass(frozen=True, kw_only=True)
class Train(Recipe, name="train"):
    """One model, trained smaller.

    Attributes:
        title: how reports and cards call the result; by default the last part of output_dir.
        model: a folder, a Hub id, or `config:` for fresh weights.
        tokenizer: a folder or Hub id, or `vocab_size:` for a fresh one; by default the model's.
        task: a row of the task table.
        data: where examples come from.
        dense: train the dense model first.
        pruning: what to prune, how much, when.
        quantization: what to quantize, how, from when.
        distillation: who teaches, by which losses.
        training: TrainingArguments, verbatim.
        evaluation: how the report is measured.
        export: how the result is written.
    """

    title: str | None = None
    model: str | FreshModel
    tokenizer: str | FreshTokenizer | None = None
    task: Literal["causal_lm", "sequence_classification", "image_classification"]
    data: Data
    dense: Dense | None = None
    pruning: Pruning | None = None
    quantization: Quantization | None = None
    distillation: Distillation | None = None
    training: dict[str, Any]
    evaluation: Evaluation = field(default_factory=Evaluation)
    export: Export = field(default_factory=Export)

    @property
    def output_dir(self) -> str:
        """Where everything goes."""
        return str(self.training["output_dir"])

    @property
    def display_name(self) -> str:
        """The title, or the folder's name."""
        return self.title or self.output_dir.rstrip("/").rsplit("/", 1)[-1]

    def training_mapping(self, dense: bool = False) -> dict[str, Any]:
        """TrainingArguments with the task's defaults; for the dense stage with its own values and folder."""
        import torch

        # Pinned memory without an accelerator is a warning on every data loader.
        pin = {} if torch.accelerator.is_available() else {"dataloader_pin_memory": False}
        mapping = {**pin, **TASKS[self.task].training_defaults, **self.training}
        if dense and self.dense is not None:
            mapping |= {**self.dense.training, "output_dir": f"{self.output_dir}/dense-training"}
        return mapping

    @classmethod
    def section_problems(cls, arguments: dict[str, Any]) -> list[Problem]:
        """Those of `training`."""
        training = arguments.get("training")
        return _training_problems(training) if isinstance(training, dict) else []

    def problems(self) -> list[Problem]:
        """Mistakes between the sections, as far as the recipe alone shows them."""
        found = _training_problems(self.training)
        if self.dense is not None:
            wrong = check_values(self.dense.training, "dense.training")
            if not found and not wrong:
                wrong = check_training(self.training_mapping(dense=True), "dense.training")
            found.extend(wrong)
        found.extend(self._task_problems())
        if self.pruning is None and self.quantization is None and self.distillation is None:
            found.append(
                Problem(path="", message="nothing to do: name at least one of pruning, quantization, distillation")
            )
        if self.export.format == "compressed-tensors" and self.quantization is None:
            message = "compressed-tensors stores quantized weights, and there is no `quantization`; write dense"
            found.append(Problem(path="export.format", message=message))
        if self.export.format == "dense" and self.quantization is not None:
            message = "a dense checkpoint would lose the quantization; write compressed-tensors or auto"
            found.append(Problem(path="export.format", message=message))
        text = TASKS[self.task].input == "text"
        if not text and self.tokenizer is not None:
            found.append(Problem(path="tokenizer", message=f"{self.task} reads no text; leave it out"))
        if isinstance(self.model, FreshModel):
            if text and self.tokenizer is None:
                found.append(
                    Problem(path="tokenizer", message="is missing: fresh weights have none; write vocab_size: 4096")
                )
            if self.dense is None:
                message = "is missing: fresh weights must be trained before they are compressed; write `dense: {}`"
                found.append(Problem(path="dense", message=message))
        elif isinstance(self.tokenizer, FreshTokenizer):
            message = "a fresh tokenizer fits no trained model; leave it out to use the model's own"
            found.append(Problem(path="tokenizer", message=message))
        found.extend(self._schedule_problems())
        return found

    def _task_problems(self) -> list[Problem]:
        """Values that another task would take."""
        task = TASKS[self.task]
        found = []
        if not task.labelled and self.data.length < 2:
            message = f"{self.data.length} is too short: the first token of a block predicts the second; write 2 or more"
            found.append(Problem(path="data.length", message=message))
        mappings = {"training": self.training, "dense.training": {} if self.dense is None else self.dense.training}
        for path, training in mappings.items():
            metric = training.get("metric_for_best_model")
            if isinstance(metric, str) and metric.removeprefix("eval_") not in task.metrics:
                message = unknown(f"metric of {task.name}", metric, task.metrics)
                found.append(Problem(path=f"{path}.metric_for_best_model", message=message))
            if task.input == "image" and training.get("remove_unused_columns") is True:
                message = "true would remove the images before they are read; leave it out"
                found.append(Problem(path=f"{path}.remove_unused_columns", message=message))
        return found

    def _schedule_problems(self) -> list[Problem]:
        """Schedules against `max_steps`, where the recipe states it."""
        steps = self.training.get("max_steps")
        return self.check_schedules(steps) if type(steps) is int and steps > 0 else []

    def check_schedules(self, max_steps: int) -> list[Problem]:
        """Schedules that do not fit into `max_steps` optimizer steps."""
        checks: list[tuple[str, Callable[[int], None]]] = []
        if self.pruning is not None:
            checks.append(("pruning.schedule", self.pruning.schedule.check))
        if self.quantization is not None:
            checks.append(("quantization.begin", self.quantization.check))
        found = []
        for path, check in checks:
            try:
                check(max_steps)
            except CompressionError as error:
                found.append(Problem(path=path, message=str(error)))
        return found

    def preflight(self) -> list[Problem]:
        """Everything that can be found without training: data, columns, model, targets, teacher, folder."""
        from hf_compress.recipe.plan import Plan
        from hf_compress.recipe.run_folder import RunFolder

        problems: list[Problem] = []
        for check in (lambda: Plan.make(self, with_examples=False), lambda: RunFolder(self).check(resume=True)):
            try:
                check()
            except CompressionError as error:
                problems.extend(problems_of(error))
        return problems

    def run(self, resume: bool = False) -> Any:
        """Do the job; see `hf_compress.recipe.train_run`."""
        from hf_compress.recipe.train_run import run_train

        return run_train(self, resume)


def _training_problems(training: dict[str, Any]) -> list[Problem]:
    """Those of `training` alone."""
    found = check_training({"output_dir": "missing", **training}, "training")
    if not training.get("output_dir"):
        message = "is missing; name the folder for everything this run writes"
        found = [problem for problem in found if problem.path != "training.output_dir"]
        found.append(Problem(path="training.output_dir", message=message))
    return found
