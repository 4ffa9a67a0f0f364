"""What a train recipe names outside itself; each is opened without the sections it does not need.

For a recipe that is wrong elsewhere this completes the refusal; a right one is opened whole, by the plan.
"""

from functools import partial
from typing import Any

from hf_compress._paths import expand
from hf_compress._problems import RecipeError, check_all
from hf_compress.distillation.configuration import Distillation
from hf_compress.evaluation.task_metrics import metrics
from hf_compress.export.push import destination
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.jobs.train.checks import Training, check_whole_training
from hf_compress.jobs.train.run_folder import check_run_place
from hf_compress.jobs.train.settings import arguments_class, with_defaults
from hf_compress.recipe.checks import Opener
from hf_compress.tasks.opened import open_inputs, open_teacher
from hf_compress.tasks.task import Task
from hf_compress.training.arguments import check_trainer, check_values
from hf_compress.training.compression import Compression


def trainer(task: Task, training: Training, **others: Any) -> None:
    """What the Trainer refuses on this machine, where the training's values are right."""
    if not training or check_whole_training(training, task):
        return
    problems = check_trainer(
        with_defaults(task, training), "training", Compression.among(others), cls=arguments_class(task)
    )
    if problems:
        raise RecipeError(problems)


def inputs(
    model: str | FreshModel | None = None,
    data: Data | None = None,
    task: Task | None = None,
    tokenizer: str | FreshTokenizer | None = None,
    training: Training | None = None,
) -> None:
    """Model, data and tokenizer, each by itself."""
    from transformers import TrainingArguments

    seed = (training or {}).get("seed", TrainingArguments.seed)
    if check_values({"seed": seed}, "training"):
        seed = TrainingArguments.seed
    open_inputs(model, data, task, tokenizer, seed=seed, fit=False)


def teachers(distillation: Distillation | None, task: Task | None = None) -> None:
    """The configs of what a teacher names."""
    named = {} if distillation is None else distillation.teacher.sources()
    check_all(*(partial(open_teacher, path, task, f"distillation.teacher.{key}") for key, path in named.items()))


def folder(training: Training) -> None:
    """A place where a run can have its folder."""
    place = training.get("output_dir")
    if isinstance(place, str) and place:
        check_run_place(expand(place, "training.output_dir"))


OPENS: tuple[Opener, ...] = (trainer, inputs, teachers, metrics, folder, destination)
