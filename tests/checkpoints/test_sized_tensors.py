"""Tensors that follow the vocabulary or the labels, by architecture, against lists written by hand."""

import pytest
from transformers import WhisperConfig, WhisperForAudioClassification, WhisperForConditionalGeneration

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.sized_tensors import sized_tensors, vocabulary_size
from tests.merging.checkpoints import save
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit


def _whisper(model_class):
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_mel_bins": 8, "vocab_size": 64, "d_model": 16}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return model_class(WhisperConfig(**sizes, **tokens, num_labels=4, max_source_positions=8, max_target_positions=8))


CASES = {
    "llama": (tiny_llama, {"lm_head.weight": 0, "model.embed_tokens.weight": 0}, {}),
    "tied": (lambda: tiny_llama(tie_word_embeddings=True), {"model.embed_tokens.weight": 0}, {}),
    "gpt2": (tiny_gpt2, {"transformer.wte.weight": 0}, {}),
    "bart": (tiny_bart, {"model.shared.weight": 0, "final_logits_bias": 1}, {}),
    "t5": (tiny_t5, {"shared.weight": 0}, {}),
    "bert": (tiny_bert, {"bert.embeddings.word_embeddings.weight": 0}, {"classifier.weight": 0, "classifier.bias": 0}),
    "vit": (tiny_vit, {}, {"classifier.weight": 0, "classifier.bias": 0}),
    "whisper": (lambda: _whisper(WhisperForConditionalGeneration), {"model.decoder.embed_tokens.weight": 0}, {}),
    "whisper head": (
        lambda: _whisper(WhisperForAudioClassification),
        {},
        {"classifier.weight": 0, "classifier.bias": 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_tensors_are_found_by_their_names_on_disk(tmp_path, name):
    build, vocabulary, labels = CASES[name]
    source = save(tmp_path / "model", build())
    assert sized_tensors(source, "vocab_size") == vocabulary
    assert sized_tensors(source, "num_labels") == labels


def test_a_bare_encoder_is_found_without_the_prefix(tmp_path):
    source = save(tmp_path / "model", tiny_bert().bert)
    source.config["architectures"] = ["BertForSequenceClassification"]  # as if the head had been stripped from the file
    assert sized_tensors(source, "vocab_size") == {"embeddings.word_embeddings.weight": 0}


def test_a_head_without_a_class_is_refused(tmp_path):
    source = save(tmp_path / "llama", tiny_llama())
    del source.config["architectures"]
    with pytest.raises(CompressionError, match="names no class of transformers .* what lm_head.weight follows"):
        sized_tensors(source, "vocab_size")


def test_a_model_without_vocabulary_has_no_size(tmp_path):
    assert vocabulary_size(save(tmp_path / "vit", tiny_vit())) is None
    assert vocabulary_size(save(tmp_path / "llama", tiny_llama(vocab_size=48))) == 48


def test_an_unknown_architecture_is_refused(tmp_path):
    source = save(tmp_path / "model", tiny_vit())
    source.config["model_type"] = "of_mine"
    with pytest.raises(CompressionError, match="model_type='of_mine', which transformers does not know"):
        sized_tensors(source, "num_labels")
    source.config.update(model_type="vit", hidden_act="of_mine")
    with pytest.raises(CompressionError, match=r"ViTForImageClassification cannot be built from config.json \('of_mine'"):
        sized_tensors(source, "num_labels")
    source.config["hidden_size"] = "wide"
    with pytest.raises(CompressionError, match="config.json is not a valid config of vit: .*hidden_size"):
        sized_tensors(source, "num_labels")
