"""What a transformers head does with its logits, read from the class: one answer for everybody who computes a loss."""

import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from hf_compress._sharding.contract import original_class
from hf_compress.distillation.signal import Classes, Kind


@dataclass(frozen=True, kw_only=True)
class Head:
    """One kind of output head.

    Attributes:
        name: what transformers calls its loss, and how its classes' names end: "ForCausalLM".
        auto_class: the Auto class that loads it, by name.
        rows: what one row of its logits is; None where no loss over rows is known.
        predicts_tokens: the classes are the vocabulary, and not labels.
        pipeline: the Hub's name of its task; None where it may be one of several.
        peft: PEFT's name of its task; None where PEFT has none.
        endings: other endings of class names.
    """

    name: str
    auto_class: str
    rows: Kind | None
    predicts_tokens: bool = False
    pipeline: str | None = None
    peft: str | None = None
    endings: tuple[str, ...] = ()

    @property
    def classes(self) -> Classes:
        """What it chooses among."""
        return "positions" if self.rows == "spans" else "tokens" if self.predicts_tokens else "labels"

    @property
    def writes(self) -> bool:
        """Whether its models write tokens one after the other."""
        return self.rows == "shifted_tokens"


CAUSAL_LM = Head(
    name="ForCausalLM",
    auto_class="AutoModelForCausalLM",
    rows="shifted_tokens",
    predicts_tokens=True,
    pipeline="text-generation",
    peft="CAUSAL_LM",
    endings=("LMHeadModel",),
)
SEQUENCE_CLASSIFICATION = Head(
    name="ForSequenceClassification",
    auto_class="AutoModelForSequenceClassification",
    rows="single_label",
    pipeline="text-classification",
    peft="SEQ_CLS",
)
IMAGE_CLASSIFICATION = Head(
    name="ForImageClassification",
    auto_class="AutoModelForImageClassification",
    rows="single_label",
    pipeline="image-classification",
)
MASKED_LM = Head(
    name="ForMaskedLM",
    auto_class="AutoModelForMaskedLM",
    rows="tokens",
    predicts_tokens=True,
    pipeline="fill-mask",
)
TOKEN_CLASSIFICATION = Head(
    name="ForTokenClassification",
    auto_class="AutoModelForTokenClassification",
    rows="tokens",
    pipeline="token-classification",
    peft="TOKEN_CLS",
)
AUDIO_CLASSIFICATION = Head(
    name="ForAudioClassification",
    auto_class="AutoModelForAudioClassification",
    rows="single_label",
    pipeline="audio-classification",
)
SEQ2SEQ_LM = Head(
    name="ForConditionalGeneration",
    auto_class="AutoModelForSeq2SeqLM",
    rows="shifted_tokens",
    predicts_tokens=True,
)
SPEECH_SEQ2SEQ = Head(
    name="ForSpeechSeq2Seq",
    auto_class="AutoModelForSpeechSeq2Seq",
    rows="shifted_tokens",
    predicts_tokens=True,
    pipeline="automatic-speech-recognition",
)
QUESTION_ANSWERING = Head(
    name="ForQuestionAnswering",
    auto_class="AutoModelForQuestionAnswering",
    rows="spans",
    pipeline="question-answering",
    peft="QUESTION_ANS",
)
CTC = Head(
    name="ForCTC",
    auto_class="AutoModelForCTC",
    rows="frames",
    predicts_tokens=True,
    pipeline="automatic-speech-recognition",
)
HEADS = (
    CAUSAL_LM,
    MASKED_LM,
    SEQ2SEQ_LM,
    SPEECH_SEQ2SEQ,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    Head(
        name="ForVideoClassification",
        auto_class="AutoModelForVideoClassification",
        rows="single_label",
        pipeline="video-classification",
    ),
    AUDIO_CLASSIFICATION,
    QUESTION_ANSWERING,
    CTC,
)
"""Those that transformers has; a task with another brings its own `Head`."""


def head_named(name: str | None) -> Head | None:
    """The head whose loss transformers calls `name`."""
    return next((head for head in HEADS if head.name == name), None)


def head_of_class(name: str) -> Head | None:
    """The head of a model's class, by the ending of its name; None where the name does not say.

    Models of sound are called like models of text (Wav2Vec2ForSequenceClassification), so transformers' lists are asked.
    """
    from transformers.models.auto import modeling_auto as lists

    if name in lists.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values():
        return AUDIO_CLASSIFICATION
    if name in lists.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES.values():
        return SPEECH_SEQ2SEQ
    return next((head for head in HEADS if name.endswith((head.name, *head.endings))), None)


def head_of_peft(name: str | None) -> Head | None:
    """The head of what PEFT calls a task; None where it is none that is known here."""
    return next((head for head in HEADS if name is not None and head.peft == name), None)


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
        if any(original_class(own).__name__ in mapping.values() for mapping in mappings):
            return kind
    return None


def shifts_labels(model: nn.Module) -> bool:
    """Whether the logits at t are for the label at t + 1, as in every causal language model and no encoder-decoder."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    head = head_named(loss_type(model))
    return head is not None and head.rows == "shifted_tokens"


def predicts_tokens(model: nn.Module) -> bool:
    """Whether the classes are the vocabulary, and not labels."""
    return chooses_among(model) == "tokens"


def chooses_among(model: nn.Module) -> Classes:
    """What a model's head chooses among; labels where it is not known."""
    head = head_named(loss_type(model))
    return "labels" if head is None else head.classes
