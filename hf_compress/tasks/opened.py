"""What a recipe names outside itself, opened for its task; each without the sections it does not need."""

from typing import TYPE_CHECKING

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError, problems_in
from hf_compress.inputs.data import load_splits, require_column
from hf_compress.inputs.fresh import check_keys
from hf_compress.inputs.labels import label_names
from hf_compress.inputs.models import load_config, require_architecture
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.tasks.task import Task

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


def open_teacher(teacher: str, task: Task | None, key: str) -> "PretrainedConfig":
    """The config of a teacher's checkpoint; a refusal names `key`.

    Raises:
        CompressionError: it is not there, or no model for the task.
    """
    from transformers import AutoConfig

    config: PretrainedConfig = from_pretrained(AutoConfig, teacher, key)
    if task is not None:
        require_architecture(task.model_class(), config, key)
    return config
