"""The main job: fine-tune, prune, quantize and distil, export, evaluate, report."""

from dataclasses import dataclass, field
from typing import Any, Literal

from hf_compress._secrets import refuse_secrets
from hf_compress.distillation.configuration import Distillation
from hf_compress.pruning.configuration import Pruning
from hf_compress.quantization.configuration import Quantization
from hf_compress.recipe.consistency import check_fit, find_problems
from hf_compress.recipe.problems import Problem, problems_in
from hf_compress.recipe.recipes import Recipe
from hf_compress.recipe.sections import Data, Dense, Evaluation, Export, FreshModel, FreshTokenizer
from hf_compress.recipe.tasks import TASKS


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

    def __post_init__(self) -> None:
        refuse_secrets({"training": self.training, "dense": {} if self.dense is None else self.dense.training})

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
        return TASKS[self.task].training_mapping(self.training, self.dense if dense else None)

    @classmethod
    def section_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """See `hf_compress.recipe.consistency`."""
        return find_problems(parts)

    @classmethod
    def source_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """See `hf_compress.recipe.sources`."""
        from hf_compress.recipe.sources import source_problems

        return source_problems(parts)

    def check_schedules(self, max_steps: int) -> list[Problem]:
        """Schedules that do not fit into `max_steps` optimizer steps."""
        found = []
        if self.pruning is not None:
            found += check_fit("pruning.schedule", self.pruning.schedule.check, max_steps)
        if self.quantization is not None:
            found += check_fit("quantization.begin", self.quantization.check, max_steps)
        return found

    def preflight(self) -> list[Problem]:
        """Everything that can be found without training: data, columns, model, targets, teacher, folder."""
        from hf_compress.recipe.plan import Plan
        from hf_compress.recipe.run_folder import RunFolder

        return problems_in(
            lambda: Plan.make(self, with_examples=False),
            lambda: RunFolder(self).check(resume=True),
        )

    def run(self, resume: bool = False) -> Any:
        """Do the job; see `hf_compress.recipe.train_run`."""
        from hf_compress.recipe.train_run import run_train

        return run_train(self, resume)
