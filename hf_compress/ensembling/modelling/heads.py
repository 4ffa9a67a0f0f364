"""Which Auto class loads a member, read from its class: transformers keeps a list for each head."""

from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

from hf_compress._errors import CompressionError

LISTS = {
    "AutoModelForAudioClassification": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForImageClassification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "AutoModelForCTC": "MODEL_FOR_CTC_MAPPING_NAMES",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
}
"""Auto class -> transformers' list of its models. A class that is in several belongs to the first: sound comes before text
(Wav2Vec2ForSequenceClassification), and text that is written before words filled in (BartForConditionalGeneration)."""
LOSSES = {
    "AutoModelForAudioClassification": "ForSequenceClassification",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
    "AutoModelForTokenClassification": "ForTokenClassification",
    "AutoModelForImageClassification": "ForImageClassification",
    "AutoModelForQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForMaskedLM": "ForMaskedLM",
    "AutoModelForCausalLM": "ForCausalLM",
    "AutoModelForSeq2SeqLM": "ForMaskedLM",
    "AutoModelForSpeechSeq2Seq": "ForMaskedLM",
    "AutoModelForCTC": "ForCTC",
}
"""Auto class -> what transformers calls the loss of its models. Labels of an encoder-decoder are not shifted."""
BY_LABELS = tuple(name for name in LISTS if name.endswith("Classification"))
"""Heads that choose among labels, which have names."""
BY_TOKEN = "AutoModelForCausalLM"
"""The head that answers with the next token, so that what it reads can be text, and not one tokenizer's tokens."""
BY_POSITION = (
    "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering",
    "AutoModelForMaskedLM",
    "AutoModelForSeq2SeqLM",
)
"""Heads that answer for each place of their input, so that all members must read the same tokens."""
BY_RECORDING = ("AutoModelForSpeechSeq2Seq", "AutoModelForCTC")
"""Heads of models whose processor has a feature extractor and a tokenizer in one."""


def auto_class_of(class_name: str) -> str:
    """The Auto class that loads a model of this class.

    Raises:
        CompressionError: transformers lists it under none that can be a member.
    """
    for auto_class, names in LISTS.items():
        for known in getattr(modeling_auto, names).values():
            if class_name in ((known,) if isinstance(known, str) else known):
                return auto_class
    raise CompressionError(
        f"{class_name} has no head that can be a member of an ensemble; pass auto_class=, one of {', '.join(sorted(LISTS))}"
    )


def head_of(model: PreTrainedModel) -> str:
    """The Auto class of a loaded model; that of an ensemble is its members'."""
    own = getattr(model.config, "auto_class", None)
    return own if isinstance(own, str) else auto_class_of(type(model).__name__)
