"""A whole model as the teacher."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from hf_compress._errors import CompressionError, reason_of
from hf_compress._registry import Reference
from hf_compress.distillation.signal import Signal
from hf_compress.distillation.teacher import LoadedTeacher, Teacher

_AUTO_CLASSES = (
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForImageClassification",
    "AutoModelForVideoClassification",
    "AutoModelForAudioClassification",
)


@dataclass(frozen=True, kw_only=True)
class ModelTeacher(Teacher, name="model"):
    """A model that answers with its logits.

    Attributes:
        model: a folder, a Hub id, a loaded model, or None: a frozen copy of the student as it is before compression.
        dtype: "auto" (as stored) or a torch type's name ("bfloat16"), for a teacher that is loaded from a path.

    Source: Hinton, Vinyals, Dean 2015.
    """

    model: str | PreTrainedModel | None = None
    dtype: str = "auto"

    reference = Reference(
        authors="Hinton, Vinyals, Dean",
        title="Distilling the Knowledge in a Neural Network",
        year=2015,
        link="https://arxiv.org/abs/1503.02531",
    )

    def __post_init__(self) -> None:
        dtype = getattr(torch, self.dtype, None)
        if self.dtype != "auto" and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise CompressionError(
                f"dtype={self.dtype!r} is no floating torch type; write auto, bfloat16, float16 or float32"
            )

    def to_plain(self, full: bool) -> Any:
        """For dumps: a model in memory is named by where it came from."""
        model = self.model if isinstance(self.model, str) or self.model is None else self.model.config.name_or_path
        data = {"model": model, "dtype": self.dtype}
        if not full:
            data = {key: value for key, value in data.items() if value != getattr(type(self), key)}
        return {"name": self.name, **data} if data else self.name

    def load(self, student: nn.Module, device: torch.device) -> "LoadedModelTeacher":
        """Load or copy, check, freeze, put into eval mode and move to `device`."""
        if self.model is None:
            model = copy.deepcopy(student)
        elif isinstance(self.model, str):
            base: Any = student.get_base_model() if hasattr(student, "get_base_model") else student  # type: ignore[operator]
            model = _load(self.model, self.dtype, base)
        else:
            model = self.model
            if {id(weight) for weight in model.parameters()} & {id(weight) for weight in student.parameters()}:
                raise CompressionError(
                    "the teacher shares weights with the student, and freezing one freezes the other; leave `model` out to"
                    " teach by a frozen copy"
                )
        check_teacher(student.config, model.config)
        model.requires_grad_(False)
        return LoadedModelTeacher(model.eval().to(device))


def _load(path: str, dtype: str, student: Any) -> Any:
    """The teacher with the student's kind of head, in the teacher's own architecture."""
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        cls = type(student) if type(config) is type(student.config) else _auto_class(student, config)
        model, info = cls.from_pretrained(path, dtype=dtype, output_loading_info=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise CompressionError(
            f"the teacher {path!r} cannot be loaded as a model like {type(student).__name__}: {reason}"
        ) from error
    if info["missing_keys"]:
        raise CompressionError(
            f"the teacher {path!r} has no {sorted(info['missing_keys'])[0]} ({len(info['missing_keys'])} tensors are"
            f" missing), so it was not trained for the task of {type(student).__name__}; take one that was"
        )
    return model


def _auto_class(student: Any, config: Any) -> Any:
    """The Auto class that the student's class belongs to and that knows the architecture of `config`.

    Raises:
        ValueError: there is none.
    """
    for name in _AUTO_CLASSES:
        auto = getattr(transformers, name)
        classes = auto._model_mapping.get(type(student.config), ())
        if type(student) in (classes if isinstance(classes, tuple | list) else (classes,)):
            if type(config) in auto._model_mapping:
                return auto
            break
    raise ValueError(f"{config.model_type} has no such class; load the teacher yourself and pass the model")


class LoadedModelTeacher(LoadedTeacher):
    """A frozen model in eval mode."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        parameters = inspect.signature(model.forward).parameters
        self._accepts = set(parameters)

    @torch.no_grad()
    def signal(self, inputs: Mapping[str, Any]) -> Signal:
        """One forward pass; inputs the teacher does not know are left out."""
        if self.model.training:  # a model shared with other code can have been switched
            self.model.eval()
        known = {key: value for key, value in inputs.items() if key in self._accepts}
        return Signal(logits=self.model(**known).logits)


def check_teacher(student: Any, teacher: Any) -> None:
    """Refuse a teacher whose answers do not mean what the student's mean.

    Args:
        student: the student's config.
        teacher: the teacher's config.

    Raises:
        CompressionError: another vocabulary, another number of labels, or the same labels in another order.
    """
    vocabularies = [getattr(config.get_text_config(), "vocab_size", None) for config in (student, teacher)]
    if vocabularies[0] != vocabularies[1]:
        raise CompressionError(
            f"the teacher has a vocabulary of {vocabularies[1]} and the student one of {vocabularies[0]}; distillation"
            " feeds both the same token ids, so take a teacher with the student's tokenizer"
        )
    if student.num_labels != teacher.num_labels:
        raise CompressionError(
            f"the teacher has {teacher.num_labels} labels and the student {student.num_labels}; take a teacher trained on"
            " the same labels"
        )
    named = [config.id2label for config in (student, teacher) if not _are_default(config.id2label)]
    if len(named) == 2 and named[0] != named[1]:
        differing = next(index for index in named[0] if named[0][index] != named[1].get(index))
        raise CompressionError(
            f"label {differing} is {named[0][differing]!r} for the student and {named[1].get(differing)!r} for the teacher;"
            " the label order must be the same"
        )


def _are_default(id2label: Mapping[int, str]) -> bool:
    """True for LABEL_0, LABEL_1, ..., which say nothing about meaning."""
    return all(name == f"LABEL_{index}" for index, name in id2label.items())
