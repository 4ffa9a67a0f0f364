"""What a recipe names outside itself; each is opened without the sections it does not need."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.distillation.teachers.model import ModelTeacher
from hf_compress.recipe.consistency import find_problems
from hf_compress.recipe.data import load_splits, require_column
from hf_compress.recipe.labels import label_names
from hf_compress.recipe.models import check_keys, from_pretrained, load_config, load_tokenizer, require_architecture
from hf_compress.recipe.paths import expand
from hf_compress.recipe.problems import Problem, RecipeError, problems_in
from hf_compress.recipe.run_folder import check_place
from hf_compress.recipe.sections import Data, FreshModel
from hf_compress.recipe.tasks import TASKS, Task
from hf_compress.recipe.training_arguments import check_trainer, check_values

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


def open_data(data: Data, task: Task | None, seed: int) -> tuple[dict[str, "Dataset"], list[str]]:
    """The raw splits and the names of their labels; without a task the columns are not looked at.

    Raises:
        CompressionError: the data cannot be had, or lacks what the task reads.
    """
    splits = load_splits(data, seed)
    if task is None:
        return splits, []
    labels: list[str] = []

    def name_labels() -> None:
        require_column(splits, data.label, "label", data.path)
        labels.extend(label_names(splits, data))

    problems = problems_in(lambda: task.check_input(splits, data), *([name_labels] if task.labelled else []))
    if problems:
        raise RecipeError(problems)
    return splits, labels


def open_model(model: str | FreshModel, task: Task | None) -> "PretrainedConfig":
    """The config as the checkpoint or the recipe says it, before data and tokenizer have a say.

    Raises:
        CompressionError: the model is not there, has unknown keys, is quantized already, or no model for the task.
    """
    if isinstance(model, FreshModel):
        check_keys(model, () if task is None else task.decided)
    config = load_config(model, {})
    if getattr(config, "quantization_config", None) is not None:
        raise CompressionError(
            f"model: {model} is quantized already, and its weights cannot be trained; name the dense model"
        )
    if task is not None:
        require_architecture(task.model_class(), config, "model")
    return config


def open_teacher(teacher: str, task: Task | None) -> "PretrainedConfig":
    """The config of a teacher's checkpoint.

    Raises:
        CompressionError: it is not there, or no model for the task.
    """
    from transformers import AutoConfig

    key = "distillation.teacher.model"
    config: PretrainedConfig = from_pretrained(AutoConfig, teacher, key)
    if task is not None:
        require_architecture(task.model_class(), config, key)
    return config


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
    if isinstance(teacher, ModelTeacher) and isinstance(teacher.model, str):
        path = teacher.model
        checks.append(lambda: open_teacher(path, task))
    folder = training.get("output_dir")
    if isinstance(folder, str) and folder:
        checks.append(lambda: check_place(expand(folder, "training.output_dir")))
    found: list[Problem] = []
    if task is not None and training and not find_problems({"training": training}):
        jobs = {name: parts.get(name) for name in ("pruning", "quantization", "distillation")}
        found.extend(check_trainer(task.training_mapping(training), "training", **jobs))
    return found + problems_in(*checks)
