"""An exported program where a model is expected: what measures models measures it too."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress.distillation.objective import task_objective
from hf_compress.tasks.task_loss import task_kind

_CPU = torch.device("cpu")
_USUAL = {"attention_mask": 1, "token_type_ids": 0}
"""Beginning of an input's name -> what a model takes it for where it is not given."""


class RuntimeModel(nn.Module):
    """A forward pass by another runtime, on the processor; it is neither trained nor does it write tokens.

    Where labels are given the outputs have their loss, computed here from the logits.

    Args:
        exported: an `ExportedModel` of transformers with one graph.
        twin: a model of the class that was exported, without memory.
    """

    def __init__(self, exported: Any, twin: Any) -> None:
        super().__init__()
        self.exported, self.config = exported, exported.config
        self.main_input_name = twin.main_input_name
        self._twin = (twin,)  # in a tuple, so that it is no part of this module
        # Says where inputs come from, and in which type.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def device(self) -> torch.device:
        """Where inputs come from and outputs go to."""
        return self.place.device

    @property
    def dtype(self) -> torch.dtype:
        """In which it was exported."""
        return self.place.dtype

    def can_generate(self) -> bool:
        """A graph is one forward pass."""
        return False

    def generate(self, *_: Any, **__: Any) -> Any:
        """Refused.

        Raises:
            CompressionError: always.
        """
        raise CompressionError(
            "an exported graph is one forward pass without a cache, so it writes no text; write dense or compressed-tensors"
        )

    def run(self, **inputs: Any) -> Any:
        """The outputs for a batch, and the loss where it has labels.

        Raises:
            CompressionError: the batch says something that the graph was not traced with.
        """
        known = next(iter(self.exported.components.values())).metadata.kwargs
        given = {name: value for name, value in on_device(inputs, _CPU).items() if name in known and value is not None}
        for name in known:
            if name not in given and "input_ids" in given and name in _USUAL:
                given[name] = torch.full_like(given["input_ids"], _USUAL[name])
        _refuse_unknown(inputs, known)
        outputs = self.exported(**given)
        for name, value in outputs.items():
            if isinstance(value, Tensor):
                outputs[name] = value.to(self.device)
        if isinstance(inputs.get("labels"), Tensor) and "logits" in outputs:
            outputs["loss"] = self._loss(outputs["logits"], inputs)
        return outputs

    def _loss(self, logits: Tensor, inputs: dict[str, Any]) -> Tensor:
        (twin,) = self._twin
        kind = task_kind(twin, inputs["labels"])
        if kind.listens:
            raise CompressionError(
                f"the loss of {type(twin).__name__} is heard from its head, which an exported graph has not; write another"
                " format"
            )
        targets = {name: inputs[name] for name in kind.targets if name in inputs}
        total, items = task_objective(
            logits, targets, kind, {name: inputs[name] for name in inputs.keys() - targets.keys()}
        )
        return total / items.clamp(min=1)


def _refuse_unknown(inputs: dict[str, Any], known: Any) -> None:
    """Refuse masks and token types that say something, and that the graph does not take."""
    for name, value in inputs.items():
        usual = next((number for beginning, number in _USUAL.items() if name.startswith(beginning)), None)
        if usual is not None and name not in known and isinstance(value, Tensor) and bool((value != usual).any()):
            raise CompressionError(
                f"the exported graph takes no {name}, and in this batch they are not all {usual}, so it would answer"
                " another question; export the model again with such a batch as example, or write another format"
            )


def runtime_model(exported: Any, cls: Any) -> RuntimeModel:
    """The program as a model whose forward takes what the class's takes, which Trainers ask it for.

    Args:
        exported: from `load_exported`.
        cls: the class of the model that was exported, or an auto class of transformers that finds it.
    """
    with torch.device("meta"):
        auto = hasattr(cls, "from_config")
        twin = cls.from_config(exported.config, trust_remote_code=False) if auto else cls(exported.config)

    def forward(self: RuntimeModel, *arguments: Any, **inputs: Any) -> Any:
        named = dict(zip(list(signature.parameters)[1:], arguments, strict=False))
        return self.run(**named, **inputs)

    signature = inspect.signature(type(twin).forward)
    forward.__signature__ = signature  # type: ignore[attr-defined]

    class Named(RuntimeModel):
        """Called as the exported model is."""

    Named.forward = forward  # type: ignore[method-assign, assignment]
    Named.__name__ = type(twin).__name__
    return Named(exported, twin)
