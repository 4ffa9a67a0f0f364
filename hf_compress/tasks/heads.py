"""What a transformers head does with its logits, read from the class: one answer for everybody who computes a loss."""

import inspect
from typing import Any

from torch import nn


def base_model(model: nn.Module) -> Any:
    """The transformers model itself, below PEFT's wrapper and `torch.compile`'s."""
    model = getattr(model, "_orig_mod", model)  # type: ignore[assignment]
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def loss_type(model: nn.Module) -> str | None:
    """The name transformers gives the model's loss: "ForCausalLM", "ForMaskedLM", ...; None = a loss of its own.

    A head whose class name says no kind (GPT2LMHeadModel, MarianMTModel) has none; those that transformers lists as models
    of text have the loss of their kind all the same. Of the causal ones only those whose forward asks for
    `self.loss_function`: XLNet's and XLM's heads bring losses of their own.
    """
    from transformers.models.auto import modeling_auto as lists

    own = base_model(model)
    known: str | None = getattr(own, "loss_type", None)
    if known is not None:
        return known
    code = getattr(inspect.unwrap(type(own).forward), "__code__", None)
    asks = code is not None and "loss_function" in code.co_names
    for kind, mappings in (
        (
            "ForCausalLM" if asks else None,
            (lists.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, lists.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
        ),
        (
            "ForConditionalGeneration",
            (lists.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, lists.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
        ),
    ):
        if any(type(own).__name__ in mapping.values() for mapping in mappings):
            return kind
    return None


def shifts_labels(model: nn.Module) -> bool:
    """Whether the logits at t are for the label at t + 1, as in every causal language model and no encoder-decoder."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    return loss_type(model) in ("ForCausalLM", "ForConditionalGeneration")


def predicts_tokens(model: nn.Module) -> bool:
    """Whether the classes are the vocabulary, and not labels."""
    return loss_type(model) in ("ForCausalLM", "ForConditionalGeneration", "ForMaskedLM")
