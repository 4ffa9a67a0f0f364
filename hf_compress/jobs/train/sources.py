"""What a train recipe names outside itself; each is opened without the sections it does not need.

For a recipe that is wrong elsewhere this completes the refusal; a right one is opened whole, by the plan.
"""

from functools import partial
from typing import Any

from hf_compress._paths import expand
from hf_compress._problems import RecipeError, problems_in
from hf_compress.distillation.configuration import Distillation
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.inputs.tokenizers import load_tokenizer
from hf_compress.jobs.train.checks import Training, check_whole_training
from hf_compress.jobs.train.run_folder import check_place
from hf_compress.recipe.checks import Opener
from hf_compress.tasks.opened import open_data, open_model, open_teacher
from hf_compress.tasks.task import TASKS
from hf_compress.training.arguments import check_trainer, check_values
from hf_compress.training.compression import Compression


def trainer(task: str, training: Training, **others: Any) -> None:
    """What the Trainer refuses on this machine, where the training's values are right."""
    if not training or check_whole_training(training):
        return
    problems = check_trainer(TASKS[task].training_mapping(training), "training", Compression.among(others))
    if problems:
        raise RecipeError(problems)


def splits(data: Data, task: str = "", training: Training | None = None) -> Any:
    """The rows; without a task the columns are not looked at."""
    from transformers import TrainingArguments

    seed = (training or {}).get("seed", TrainingArguments.seed)
    if check_values({"seed": seed}, "training"):
        seed = TrainingArguments.seed
    return open_data(data, TASKS.get(task), seed)


def config(model: str | FreshModel, task: str = "") -> Any:
    """The model's config."""
    return open_model(model, TASKS.get(task))


def processor(tokenizer: str | FreshTokenizer | None, task: str = "") -> Any:
    """The tokenizer that the recipe names."""
    known = TASKS.get(task)
    if isinstance(tokenizer, str) and (known is None or known.input == "text"):
        return load_tokenizer(tokenizer)
    return None


def teachers(distillation: Distillation | None, task: str = "") -> None:
    """The configs of what a teacher names."""
    named = {} if distillation is None else distillation.teacher.sources()
    problems = problems_in(
        *(partial(open_teacher, path, TASKS.get(task), f"distillation.teacher.{key}") for key, path in named.items())
    )
    if problems:
        raise RecipeError(problems)


def folder(training: Training) -> None:
    """A place where a run can have its folder."""
    place = training.get("output_dir")
    if isinstance(place, str) and place:
        check_place(expand(place, "training.output_dir"))


OPENS: tuple[Opener, ...] = (trainer, splits, config, processor, teachers, folder)
