"""Which kind of rows a model's head makes, and so which task loss is its own."""

from typing import Any

from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._sharding.contract import original_class
from hf_compress.distillation.signal import Kind
from hf_compress.tasks.heads import HEADS, head_named, loss_type, shifts_labels
from hf_compress.tasks.row_kind import RowKind, row_kind


def task_kind(model: nn.Module, labels: Tensor | None = None) -> RowKind:
    """Which loss belongs to the model's head.

    Args:
        model: a transformers model; its `loss_type` and config decide.
        labels: a batch's labels, which tell single-label from multi-label where the config does not say.

    Raises:
        CompressionError: the head is of a kind that distillation does not know.
    """
    head = head_named(loss_type(model))
    kind = None if head is None else head.rows
    if kind is None:
        raise CompressionError(
            f"distillation knows no task loss for {original_class(model).__name__}; it knows models for "
            + ", ".join(sorted(head.name.removeprefix("For") for head in HEADS if head.rows is not None))
            + "; where the head is one of them by another name, say so: model.loss_type = 'ForCausalLM'"
        )
    return row_kind(_kind(model, kind, labels)).of(model)


def _kind(model: nn.Module, kind: Kind, labels: Tensor | None) -> Kind:
    """The head's kind, where config or labels say more than the head."""
    if kind == "shifted_tokens":
        return kind if shifts_labels(model) else "tokens"
    if kind != "single_label":
        return kind
    config: Any = model.config
    problem: str | None = getattr(config, "problem_type", None)
    if problem is None:  # as transformers finds it
        if config.num_labels == 1:
            return "regression"
        return "multi_label" if labels is not None and labels.is_floating_point() else kind
    if problem == "regression":
        return "regression"
    return "multi_label" if problem == "multi_label_classification" else kind
