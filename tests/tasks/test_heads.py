import pytest
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, XLMConfig, XLMWithLMHeadModel

from hf_compress.tasks.heads import (
    HEADS,
    base_model,
    head_named,
    head_of_class,
    loss_type,
    predicts_tokens,
    shifts_labels,
)
from hf_compress.tasks.task_loss import task_kind
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit


def masked():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    return BertForMaskedLM(BertConfig(vocab_size=64, **sizes))


@pytest.mark.parametrize(
    ("build", "kind", "shifts", "tokens"),
    [
        (tiny_llama, "ForCausalLM", True, True),
        (tiny_gpt2, "ForCausalLM", True, True),
        (tiny_t5, "ForConditionalGeneration", False, True),
        (masked, "ForMaskedLM", False, True),
        (tiny_bert, "ForSequenceClassification", False, False),
        (tiny_vit, "ForImageClassification", False, False),
    ],
)
def test_what_a_head_does_with_its_logits(build, kind, shifts, tokens):
    model = build()
    assert (loss_type(model), shifts_labels(model), predicts_tokens(model)) == (kind, shifts, tokens)
    assert (task_kind(model).name == "shifted_tokens") == shifts  # what losses and statistics do with logits is one rule


def test_the_table_of_heads_is_that_of_transformers():
    for head in HEADS:
        assert getattr(transformers, head.auto_class)._model_mapping, head.name
        assert head_named(head.name) is head
    names = (
        "GPT2LMHeadModel",
        "BertForTokenClassification",
        "ViTForImageClassification",
        "HubertForSequenceClassification",
        "WhisperForConditionalGeneration",
        "T5ForConditionalGeneration",
        "LlamaModel",
    )
    assert [getattr(head_of_class(name), "pipeline", None) for name in names] == [
        "text-generation",
        "token-classification",
        "image-classification",
        "audio-classification",
        "automatic-speech-recognition",
        None,
        None,
    ]


def test_transducers_and_other_models_that_no_list_of_language_models_names_have_a_loss_of_their_own():
    class NemotronAsrForRNNT(torch.nn.Module):
        def forward(self, labels):
            return self.loss_function(labels)

    assert loss_type(NemotronAsrForRNNT()) is None and not shifts_labels(NemotronAsrForRNNT())
    xlm = XLMWithLMHeadModel(XLMConfig(vocab_size=64, emb_dim=32, n_layers=1, n_heads=4))
    assert loss_type(xlm) is None and not shifts_labels(xlm)


# peft 0.21 itself still reads the old name
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_model_below_compilation_and_adapters_is_found():
    from peft import LoraConfig, get_peft_model

    model = tiny_llama()
    assert base_model(torch.compile(model, backend="eager")) is model
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert base_model(adapted) is model and loss_type(adapted) == "ForCausalLM"
