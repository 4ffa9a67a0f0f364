"""Mistakes inside and between the sections of a train recipe, as far as the recipe alone shows them.

How they run is in `hf_compress.recipe.checks`.
"""

from collections.abc import Callable
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem
from hf_compress.calibration.configuration import Calibration
from hf_compress.distillation.configuration import Distillation
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.evaluation.task_metrics import metrics_for_task
from hf_compress.export.configuration import Export
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.jobs.train.settings import Dense, TrainSettings, arguments_class, with_defaults
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.statistics import require_calibration
from hf_compress.quantization.configuration import Quantization
from hf_compress.recipe.checks import Check
from hf_compress.tasks.task import Task
from hf_compress.training.arguments import check_training, check_values
from hf_compress.training.compression import Compression

Training = dict[str, Any]


def check_fit(path: str, check: Callable[[int], None], max_steps: int) -> list[Problem]:
    """A schedule that does not fit into `max_steps` optimizer steps.

    Args:
        path: what a problem names.
        check: the schedule's own.
        max_steps: known from the recipe or from the data.
    """
    try:
        check(max_steps)
    except CompressionError as error:
        return [Problem(path=path, message=str(error))]
    return []


def check_whole_training(training: Training, task: Task | None = None) -> list[Problem]:
    """The section `training` by itself: its values, those of TrainingArguments together, and that it names a folder."""
    found = check_training({"output_dir": "missing", **training}, "training", arguments_class(task))
    if not training.get("output_dir"):
        message = "is missing; name the folder for everything this run writes"
        found = [problem for problem in found if problem.path != "training.output_dir"]
        found.append(Problem(path="training.output_dir", message=message))
    return found


def _dense_values(dense: Dense | None, task: Task | None = None) -> list[Problem]:
    return [] if dense is None else check_values(dense.training, "dense.training", arguments_class(task))


def _dense_training(task: Task, training: Training, dense: Dense | None) -> list[Problem]:
    """The dense stage's whole mapping, where each of its two halves is right."""
    if dense is None or check_whole_training(training, task) or _dense_values(dense, task):
        return []
    return check_training(
        with_defaults(task, {**training, **dense.stage(training)}), "dense.training", arguments_class(task)
    )


def _training_for_task(task: Task, training: Training, evaluation: Evaluation) -> list[Problem]:
    return _for_task(task, training, evaluation, "training")


def _dense_for_task(task: Task, dense: Dense | None, evaluation: Evaluation) -> list[Problem]:
    return [] if dense is None else _for_task(task, dense.training, evaluation, "dense.training")


def _for_task(task: Task, training: Training, evaluation: Evaluation, path: str) -> list[Problem]:
    """Values that another task would take."""
    refused = task.refused_training(training, evaluation.metrics)
    return [Problem(path=f"{path}.{key}", message=message) for key, message in refused.items()]


def _anything(
    pruning: Pruning | None,
    quantization: Quantization | None,
    distillation: Distillation | None,
    shrink: ShrinkPlan | None = None,
) -> list[Problem]:
    if any(one is not None for one in (pruning, quantization, distillation, shrink)):
        return []
    return [Problem(path="", message="nothing to do: name at least one of shrink, pruning, quantization, distillation")]


def _format(export: Export, quantization: Quantization | None) -> list[Problem]:
    return export.problems(quantized=quantization is not None)


def _tokenizer_for_task(task: Task, tokenizer: str | FreshTokenizer | None) -> list[Problem]:
    if tokenizer is None or task.takes_tokenizer:
        return []
    return [Problem(path="tokenizer", message=f"{task.name} reads no text; leave it out")]


def _tokenizer_of_fresh(task: Task, model: str | FreshModel, tokenizer: str | FreshTokenizer | None) -> list[Problem]:
    if not isinstance(model, FreshModel) or tokenizer is not None or not task.takes_tokenizer:
        return []
    return [Problem(path="tokenizer", message="is missing: fresh weights have none; write vocab_size: 4096")]


def _fresh_tokenizer(model: str | FreshModel, tokenizer: str | FreshTokenizer | None) -> list[Problem]:
    if isinstance(model, FreshModel) or not isinstance(tokenizer, FreshTokenizer):
        return []
    message = "a fresh tokenizer fits no trained model; leave it out to use the model's own"
    return [Problem(path="tokenizer", message=message)]


def _dense_of_fresh(model: str | FreshModel, dense: Dense | None) -> list[Problem]:
    if not isinstance(model, FreshModel) or dense is not None:
        return []
    message = "is missing: fresh weights must be trained before they are compressed; write `dense: {}`"
    return [Problem(path="dense", message=message)]


def _dense_of_zeros(pruning: Pruning | None, dense: Dense | None) -> list[Problem]:
    if pruning is None or not pruning.keeps_zeros or dense is None:
        return []
    message = (
        "trains the model without masks, and the zeros that pruning.masks=from_zeros keeps would be gone; leave it out"
    )
    return [Problem(path="dense", message=message)]


def _statistics(pruning: Pruning | None, calibration: Calibration | None) -> None:
    if pruning is not None:
        require_calibration(pruning, calibration)


def _chosen_by_data(shrink: ShrinkPlan | None, calibration: Calibration | None) -> list[Problem]:
    """What of a model goes, where only data can say it."""
    if shrink is None or calibration is not None or not shrink.needs_calibration:
        return []
    message = f"{shrink.needs_calibration} is chosen on examples; add the section `calibration: {{}}`"
    return [Problem(path=f"shrink.{shrink.needs_calibration}", message=message)]


def _pieces_of_rows(
    data: Data, shrink: ShrinkPlan | None = None, tokenizer: str | FreshTokenizer | None = None
) -> list[Problem]:
    """Which rows of the vocabulary are used, where that can be seen, and is not known already."""
    if shrink is None or shrink.vocabulary is None:
        return []
    found = []
    if isinstance(tokenizer, FreshTokenizer):
        found.append("a fresh tokenizer is made of the training rows as it is; write a smaller tokenizer.vocab_size")
    if data.streaming:
        found.append("looks at all training rows, which data.streaming does not know; leave streaming or vocabulary out")
    return [Problem(path="shrink.vocabulary", message=message) for message in found]


def _stream(
    data: Data, training: Training, dense: Dense | None = None, calibration: Calibration | None = None
) -> list[Problem]:
    """What needs the number of training rows, where they are a stream."""
    if not data.streaming:
        return []
    found = []
    if _stated_steps(training) is None:
        message = "is missing: data.streaming reads rows without an end, so say after how many steps training ends"
        found.append(Problem(path="training.max_steps", message=message))
    elif dense is not None and _stated_steps({**training, **dense.training}) is None:
        message = "takes away the end of training, which data.streaming needs; leave it out, or write a number of steps"
        found.append(Problem(path="dense.training.max_steps", message=message))
    if calibration is not None:
        message = (
            "draws from all training rows, which data.streaming does not know; prune by a criterion that needs no"
            " statistics, shrink by weights, or leave streaming out"
        )
        found.append(Problem(path="calibration", message=message))
    return found


def _pruning_fits(training: Training, pruning: Pruning | None) -> list[Problem]:
    steps = _stated_steps(training)
    return [] if pruning is None or steps is None else check_fit("pruning.schedule", pruning.schedule.check, steps)


def _quantization_fits(training: Training, quantization: Quantization | None) -> list[Problem]:
    steps = _stated_steps(training)
    return [] if quantization is None or steps is None else check_fit("quantization.begin", quantization.check, steps)


def _stated_steps(training: Training) -> int | None:
    """`max_steps`, where the recipe states it."""
    steps = training.get("max_steps")
    return steps if type(steps) is int and steps > 0 else None


CHECKS: tuple[Check, ...] = (
    check_whole_training,
    _dense_values,
    _dense_training,
    _training_for_task,
    _dense_for_task,
    metrics_for_task,
    _anything,
    _format,
    _tokenizer_for_task,
    _tokenizer_of_fresh,
    _fresh_tokenizer,
    _dense_of_fresh,
    _dense_of_zeros,
    _statistics,
    _chosen_by_data,
    _pieces_of_rows,
    _stream,
    _pruning_fits,
    _quantization_fits,
)


def _dense_of_fresh_member(model: str | FreshModel, dense: Dense | None, **others: Any) -> list[Problem]:
    """Of the two stages there is one where nothing is compressed."""
    if Compression.among(others) or others.get("shrink") is not None:
        return _dense_of_fresh(model, dense)
    if dense is None:
        return []
    message = (
        "nothing is compressed (no shrink, pruning, quantization or distillation), so one training is enough; leave it out"
    )
    return [Problem(path="dense", message=message)]


MEMBER_CHECKS: tuple[Check, ...] = (
    *(check for check in CHECKS if check not in (_anything, _dense_of_fresh)),
    _dense_of_fresh_member,
)
"""Of a member of an ensemble, which may be trained and not compressed."""


def check_schedules(settings: TrainSettings, max_steps: int) -> list[Problem]:
    """Schedules that do not fit into `max_steps` optimizer steps."""
    found = []
    if settings.pruning is not None:
        found += check_fit("pruning.schedule", settings.pruning.schedule.check, max_steps)
    if settings.quantization is not None:
        found += check_fit("quantization.begin", settings.quantization.check, max_steps)
    return found
