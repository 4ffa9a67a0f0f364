"""What every loss that the mixin computes itself needs around the student's forward pass."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.distillation.answers import Answers, logits_of
from hf_compress.tasks.heads import base_model, predicts_tokens
from hf_compress.tasks.row_kind import RowKind


def take_targets(student: Any, inputs: dict[str, Any], kind: RowKind) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(inputs without labels, labels and those that the collator has shifted): the head then computes no loss of its own.

    What an encoder-decoder would derive from its labels, the decoder's inputs, is put in their place.

    Raises:
        CompressionError: the batch has no labels, or the config does not say with which token a decoder starts.
    """
    inputs = dict(inputs)
    targets = {name: inputs.pop(name) for name in (*kind.targets, "shift_labels") if inputs.get(name) is not None}
    missing = [name for name in kind.targets if name not in targets]
    if missing:
        raise CompressionError(
            f"the loss needs {' and '.join(missing)} in every batch to know which rows count, and this one has "
            + (", ".join(inputs) or "nothing")
            + "; let the data or the collator add them"
        )
    labels = targets.get("labels")
    given = {"decoder_input_ids", "decoder_inputs_embeds"} & inputs.keys()
    # A classifier made of an encoder-decoder has labels that are no tokens, and finds its decoder's inputs by itself.
    if labels is not None and not given and predicts_tokens(student):
        if hasattr(student, "prepare_decoder_input_ids_from_labels"):
            inputs["decoder_input_ids"] = student.prepare_decoder_input_ids_from_labels(labels=labels)
        elif getattr(student.config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = shift_right(labels, base_model(student).config)
    return inputs, targets


class StudentPass(NamedTuple):
    """One forward pass of the student.

    Attributes:
        outputs: the model's.
        logits: in them.
        inputs: without labels.
        targets: labels as the task has them.
        kind: what a row is.
        heard: what the head said of the batch.
    """

    outputs: Any
    logits: Tensor
    inputs: dict[str, Any]
    targets: dict[str, Tensor]
    kind: RowKind
    heard: dict[str, Any]


def student_pass(
    model: nn.Module,
    student: nn.Module,
    inputs: dict[str, Any],
    targets: dict[str, Tensor],
    kind: RowKind,
    answers: Answers,
) -> StudentPass:
    """The forward pass of a micro-batch, in which the head computes no loss.

    Args:
        model: the student as the Trainer wraps it.
        student: the student itself.
        inputs: without labels.
        targets: see `take_targets`.
        kind: what a row is; it may want to be told by the head.
        answers: the student's settings.
    """
    with answers.settings(), kind.listening(base_model(student)) as heard:
        outputs = model(**inputs, **(targets if kind.listens else {}))
    return StudentPass(outputs, logits_of(outputs, type(student).__name__), inputs, targets, kind, heard)


def shift_right(labels: Tensor, config: Any) -> Tensor:
    """Labels (B, T) -> decoder inputs (B, T): the start token first, -100 as padding; what Whisper and its kin do inside.

    Raises:
        CompressionError: the config names no start or no padding token.
    """
    start, padding = (_token(config, name) for name in ("decoder_start_token_id", "pad_token_id"))
    shifted = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == -100, padding)


def _token(config: Any, name: str) -> int:
    known = getattr(config, name, None)
    if known is None:
        known = getattr(config.get_text_config(decoder=True), name, None)
    if not isinstance(known, int):
        raise CompressionError(
            f"the labels cannot be made into decoder inputs, because {type(config).__name__}.{name} is {known!r}; set it,"
            " or let the collator give decoder_input_ids"
        )
    return known


def loss_scale(trainer: Any, items: Tensor, num_items: Tensor | int | None, accumulation: int) -> Tensor | float:
    """1 / items in the accumulated batch, times the processes whose gradients DDP will average.

    Args:
        trainer: a Trainer.
        items: this micro-batch's own, used where the Trainer counted none.
        num_items: as the Trainer counted them for the accumulated batch.
        accumulation: micro-batches in a step, by which a micro-batch's own mean is divided.
    """
    if num_items is None:
        return 1.0 / (items.clamp(min=1) * accumulation)
    counted = torch.as_tensor(num_items, device=items.device).clamp(min=1)
    processes = trainer.accelerator.num_processes // trainer.get_tp_size()
    return (processes if trainer.args.average_tokens_across_devices else 1) / counted


def at_least_one(num_items: Tensor | int | None) -> Tensor | int | None:
    """The items of the accumulated batch as a divisor: a step without a label has the loss 0, and not 0 / 0."""
    if isinstance(num_items, Tensor):
        return num_items.clamp(min=1)
    return None if num_items is None else max(num_items, 1)


def accumulation_steps(trainer: Any) -> int:
    """Micro-batches of the step at hand; 1 before training, when the Trainer has not said."""
    return int(getattr(trainer, "current_gradient_accumulation_steps", 1))


def router_loss(trainer: Any, outputs: Any, accumulation: int) -> Tensor | float:
    """The load-balancing loss of mixture-of-experts models that return one: a mean per micro-batch."""
    auxiliary = getattr(outputs, "aux_loss", None)
    if auxiliary is None:
        return 0.0
    coefficient = getattr(trainer.model.config.get_text_config(), "router_aux_loss_coef", 0.0)
    return coefficient * auxiliary / accumulation
