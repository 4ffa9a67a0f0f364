"""What a recipe names outside itself; each is opened without the sections it does not need."""

from collections.abc import Callable
from functools import partial
from typing import Any

from hf_compress._problems import Problem, problems_in
from hf_compress.inputs.models import load_tokenizer
from hf_compress.inputs.paths import expand
from hf_compress.jobs.train.checks import find_problems
from hf_compress.jobs.train.run_folder import check_place
from hf_compress.tasks.opened import open_data, open_model, open_teacher
from hf_compress.tasks.task import TASKS
from hf_compress.training.arguments import check_trainer, check_values
from hf_compress.training.compression import Compression


def source_problems(parts: dict[str, Any]) -> list[Problem]:
    """What is wrong with the sources of a recipe that is wrong elsewhere, each by itself.

    Args:
        parts: the fields of the recipe that are right.
    """
    from transformers import TrainingArguments

    training = parts.get("training", {})
    seed = training.get("seed", TrainingArguments.seed)
    if check_values({"seed": seed}, "training"):
        seed = TrainingArguments.seed
    task = TASKS.get(parts.get("task", ""))
    reads_text = task is None or task.input == "text"
    checks: list[Callable[[], Any]] = []
    if "data" in parts:
        checks.append(lambda: open_data(parts["data"], task, seed))
    if "model" in parts:
        checks.append(lambda: open_model(parts["model"], task))
    if isinstance(parts.get("tokenizer"), str) and reads_text:
        checks.append(lambda: load_tokenizer(parts["tokenizer"]))
    teacher = getattr(parts.get("distillation"), "teacher", None)
    for key, path in {} if teacher is None else teacher.sources().items():
        checks.append(partial(open_teacher, path, task, f"distillation.teacher.{key}"))
    folder = training.get("output_dir")
    if isinstance(folder, str) and folder:
        checks.append(lambda: check_place(expand(folder, "training.output_dir")))
    found: list[Problem] = []
    if task is not None and training and not find_problems({"training": training}):
        found.extend(check_trainer(task.training_mapping(training), "training", Compression.among(parts)))
    return found + problems_in(*checks)
