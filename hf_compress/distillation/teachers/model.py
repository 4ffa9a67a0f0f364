"""A whole model as the teacher."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from hf_compress import _distributed
from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.types import floating_type, num_bytes
from hf_compress._registry import Reference
from hf_compress._sharding.contract import is_sharded, sharding_of
from hf_compress._sharding.from_first import lacks_weights, send, send_buffers
from hf_compress.distillation.answers import Answers
from hf_compress.distillation.correspondence import Correspondence, correspondence, tokenizer_at
from hf_compress.distillation.frozen_copy import frozen_copy
from hf_compress.distillation.signal import NEEDS, Need, Signal
from hf_compress.distillation.teacher import LoadedTeacher, Teacher
from hf_compress.distillation.teacher_checks import check_checkpoint
from hf_compress.inputs.auto_classes import classes_of
from hf_compress.inputs.models import skeleton
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.tasks.heads import HEADS, base_model, chooses_among
from hf_compress.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ModelTeacher(Teacher, name="model"):
    """A model that answers with its logits, and with its hidden states and attention maps where a loss compares them.

    Attributes:
        model: a folder, a Hub id, a loaded model, or None: a frozen copy of the student as it is before compression.
        dtype: "auto" (as stored) or a torch type's name ("bfloat16"), for a teacher that is loaded from a path.
        shard: over processes that share the student's weights (FSDP 2, ZeRO-3): "auto" = where the teacher would take more
            than a quarter of the device's free memory, "like_student" = always there, or "never": each has all of it.

    Source: Hinton, Vinyals, Dean 2015.
    """

    model: str | PreTrainedModel | None = None
    dtype: str = "auto"
    shard: Literal["auto", "like_student", "never"] = "auto"

    gives: ClassVar[tuple[Need, ...]] = NEEDS
    reference: ClassVar[Reference | None] = Reference(
        authors="Hinton, Vinyals, Dean",
        title="Distilling the Knowledge in a Neural Network",
        year=2015,
        link="https://arxiv.org/abs/1503.02531",
    )

    def __post_init__(self) -> None:
        if self.dtype != "auto":
            floating_type(self.dtype)

    def to_plain(self, full: bool) -> Any:
        """For dumps: a model in memory is named by where it came from."""
        model = self.model if isinstance(self.model, str) or self.model is None else self.model.config.name_or_path
        # How it lies changes no answer, so runs are told apart by it only where it was asked for.
        data = {"model": model, "dtype": self.dtype, **({} if self.shard == "auto" else {"shard": self.shard})}
        if not full:
            data = {key: value for key, value in data.items() if value != getattr(type(self), key)}
        return {"name": self.name, **data} if data else self.name

    def sources(self) -> dict[str, str]:
        """The checkpoint, where it is one."""
        return {"model": self.model} if isinstance(self.model, str) else {}

    def check(self, student: "PretrainedConfig", tokenizer: Any, task: Task, key: str) -> None:
        """A checkpoint's; a copy and a model in memory are checked when they are loaded."""
        for field, model in self.sources().items():
            check_checkpoint(model, student, tokenizer, task, f"{key}.{field}")

    def config(self, student: "PretrainedConfig") -> "PretrainedConfig":
        """The model's own; of a copy the student's."""
        if self.model is None:
            return student
        config: PretrainedConfig = (
            from_pretrained(AutoConfig, self.model, "model") if isinstance(self.model, str) else self.model.config
        )
        return config

    def num_bytes(self, student: nn.Module, task: Task) -> int:
        """As it is stored, or of the type that is asked for; a copy is as large as the student."""
        if self.model is None or isinstance(self.model, PreTrainedModel):
            return num_bytes((self.model or student).parameters())
        config = self.config(base_model(student).config)
        stored = (config.dtype or torch.float32) if self.dtype == "auto" else self.dtype
        dtype = stored if isinstance(stored, torch.dtype) else floating_type(stored)
        return sum(weight.numel() for weight in skeleton(task.model_class(), config).parameters()) * dtype.itemsize

    def load(
        self, student: nn.Module, device: torch.device, tokenizer: Any = None, needs: tuple[Need, ...] = ("logits",)
    ) -> "LoadedModelTeacher":
        """Load or copy, check, freeze, put into eval mode and move to `device`.

        Where the student's weights are in the first process alone, so are those that are loaded or copied here.
        """
        base = base_model(student)
        waits = lacks_weights(student) and not _distributed.is_main()
        if self.model is None:
            if is_sharded(student):
                raise CompressionError(
                    "the student's weights were cut when they were loaded, so no frozen copy can be taken of them; name the"
                    " teacher: model is the student's own folder or Hub id"
                )
            model, meaning = frozen_copy(student), Correspondence()
        else:
            if isinstance(self.model, str):
                model = _load(self.model, self.dtype, base, without_memory=waits)
            else:
                model = self.model
                if {id(weight) for weight in model.parameters()} & {id(weight) for weight in student.parameters()}:
                    raise CompressionError(
                        "the teacher shares weights with the student, and freezing one freezes the other; leave `model` out"
                        " to teach by a frozen copy"
                    )
            meaning = correspondence(
                base.config,
                model.config,
                classes=chooses_among(student),
                tokenizers=(tokenizer, self._tokenizer() if tokenizer is not None else None),
            )
        model.requires_grad_(False)
        model = model.eval() if waits else model.eval().to(device)
        loaded = LoadedModelTeacher(model, meaning, type(base_model(model)) is type(base), needs)
        loaded.shard = self.shard
        loaded.copied = loaded.model if self.model is None else None
        return loaded

    def _tokenizer(self) -> Any:
        """What lies beside the teacher; of a model in memory, where it came from and without a download."""
        if isinstance(self.model, str):
            return tokenizer_at(self.model, local_only=False)
        return tokenizer_at(getattr(getattr(self.model, "config", None), "name_or_path", None), local_only=True)


def _load(path: str, dtype: str, student: Any, without_memory: bool) -> Any:
    """The teacher with the student's kind of head, in the teacher's own architecture."""
    import hf_compress.ensembling.modelling.models  # noqa: F401 (transformers knows ensembles from then on)

    place = {"device_map": "meta"} if without_memory else {}
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        cls = type(student) if type(config) is type(student.config) else _auto_class(student, config)
        attention = _attention(student, cls)
        model, info = cls.from_pretrained(
            path, dtype=dtype, output_loading_info=True, trust_remote_code=False, **attention, **place
        )
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
    for head in HEADS:
        auto = getattr(transformers, head.auto_class)
        if type(student) in classes_of(auto, student.config):
            if classes_of(auto, config):
                return auto
            break
    raise ValueError(f"{config.model_type} has no such class; load the teacher yourself and pass the model")


def _attention(student: Any, cls: Any) -> dict[str, str]:
    """The student's attention implementation, so that both round alike; only where the classes are the same.

    Another architecture takes its own default, because it may not have the student's.
    """
    known = getattr(student.config, "_attn_implementation", None)
    return {"attn_implementation": known} if cls is type(student) and isinstance(known, str) else {}


def takes_much(model: nn.Module, device: torch.device) -> bool:
    """Whether a whole model would take more than a quarter of the memory that is free; never on a CPU."""
    if device.type != "cuda":
        return False
    return num_bytes(model.parameters()) > torch.cuda.mem_get_info(device)[0] / 4


_PACKING = ("position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
"""Where documents begin in a flattened batch; models take these as **kwargs and hand them down."""


class LoadedModelTeacher(LoadedTeacher):
    """A frozen model in eval mode.

    Args:
        model: answers with logits.
        meaning: how its classes are brought to the student's.
        same_class: the student is of the same class, so that it takes every input the student takes.
        needs: what its signals hold.

    Attributes:
        shard: see `ModelTeacher`.
    """

    shard: str = "auto"

    def __init__(
        self,
        model: nn.Module,
        meaning: Correspondence | None = None,
        same_class: bool = False,
        needs: tuple[Need, ...] = ("logits",),
    ) -> None:
        self.model = model
        self._meaning = meaning or Correspondence()
        self._answers = Answers(model, needs, "the teacher")
        parameters = inspect.signature(base_model(model).forward).parameters
        open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        self._accepts = {*parameters, *(_PACKING if open_ended else ())}
        self._accepts_all = same_class and open_ended

    def settle(self, student: nn.Module, device: torch.device) -> None:
        """On the device, whole or sharded as the student is."""
        like = next(student.parameters())
        asked = self.shard == "like_student" or (self.shard == "auto" and takes_much(self.model, device))
        sharding = sharding_of(like)
        if sharding.shards_others and any(_distributed.gather(asked)):
            sharding.shard_like(self.model, like)
            return
        if is_sharded(student) and asked:
            logger.warning("the teacher lies whole in every process: only FSDP 2 and ZeRO-3 shard it with the student")
        if sharding.shards_others and any(_distributed.gather(lacks_weights(self.model))):
            send_buffers(self.model)
            send(self.model, device)
        self.model.to(device)

    def _read(self, value: Any) -> Any:
        """Sounds and images that were made as coarse as the student's weights, as DeepSpeed does, in the teacher's type."""
        own = next(self.model.parameters()).dtype
        coarser = isinstance(value, Tensor) and value.is_floating_point() and value.itemsize < own.itemsize
        return value.to(own) if coarser else value

    @torch.no_grad()
    def signal(self, inputs: Mapping[str, Any]) -> Signal:
        """One forward pass; inputs the teacher does not know are left out."""
        if self.model.training:  # a model shared with other code can have been switched
            self.model.eval()
        known = {key: self._read(value) for key, value in inputs.items() if self._accepts_all or key in self._accepts}
        with self._answers.settings():
            signal = self._answers.signal(self.model(**known))
        logits = signal.logits
        if logits is not None and self._meaning.columns is not None:
            logits = logits[..., list(self._meaning.columns)]
        if logits is not None and self._meaning.common is not None:
            logits = logits[..., : self._meaning.common]
        return replace(signal, logits=logits, common=self._meaning.common)
