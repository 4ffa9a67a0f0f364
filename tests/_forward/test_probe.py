"""A batch that a model's forward accepts, from its config."""

import pytest
import torch
from torch import nn
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    CLIPConfig,
    CLIPModel,
    ResNetConfig,
    ResNetForImageClassification,
    SiglipConfig,
    SiglipForImageClassification,
    Speech2TextConfig,
    Speech2TextForConditionalGeneration,
    TimesformerConfig,
    TimesformerForVideoClassification,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from hf_compress._forward.probe import probe_inputs
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
COUPLE = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
COUPLE |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 64, "pad_token_id": 0, "eos_token_id": 2}
COUPLE |= {"bos_token_id": 1, "decoder_start_token_id": 2}


def wav2vec2():
    layers = {"conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **layers, **positions, vocab_size=32))


def whisper():
    config = WhisperConfig(
        **COUPLE, num_mel_bins=8, max_source_positions=20, max_target_positions=16, begin_suppress_tokens=None
    )
    return WhisperForConditionalGeneration(config)


def speech2text():
    config = Speech2TextConfig(
        **COUPLE, input_feat_per_channel=8, conv_channels=16, max_source_positions=100, max_target_positions=16
    )
    return Speech2TextForConditionalGeneration(config)


def clip():
    text = {
        **SMALL,
        "vocab_size": 64,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config={**SMALL, "image_size": 8, "patch_size": 4}, projection_dim=16)
    )


KINDS = {
    "decoder": (tiny_llama, {"input_ids": (2, 8)}),
    "decoder with Conv1D": (tiny_gpt2, {"input_ids": (2, 8)}),
    "classifier": (tiny_bert, {"input_ids": (2, 8)}),
    "masked LM": (lambda: BertForMaskedLM(BertConfig(**SMALL, vocab_size=64)), {"input_ids": (2, 8)}),
    "few positions": (lambda: tiny_llama(max_position_embeddings=4), {"input_ids": (2, 4)}),
    "encoder-decoder": (tiny_t5, {"input_ids": (2, 8), "decoder_input_ids": (2, 8)}),
    "encoder-decoder of BART's kind": (tiny_bart, {"input_ids": (2, 8), "decoder_input_ids": (2, 8)}),
    "classifier that reads the end token": (
        lambda: BartForSequenceClassification(BartConfig(**COUPLE, max_position_embeddings=16)),
        {"input_ids": (2, 8), "decoder_input_ids": (2, 8)},
    ),
    "images": (tiny_vit, {"pixel_values": (2, 3, 8, 8)}),
    "images of any size": (
        lambda: ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        {"pixel_values": (2, 3, 32, 32)},
    ),
    "images, composite config": (
        lambda: SiglipForImageClassification(
            SiglipConfig(vision_config={**SMALL, "image_size": 8, "patch_size": 4}, text_config=SMALL)
        ),
        {"pixel_values": (2, 3, 8, 8)},
    ),
    "video": (
        lambda: TimesformerForVideoClassification(TimesformerConfig(**SMALL, image_size=8, patch_size=4, num_frames=2)),
        {"pixel_values": (2, 2, 3, 8, 8)},
    ),
    "text and image": (clip, {"input_ids": (2, 8), "pixel_values": (2, 3, 8, 8)}),
    "waves": (wav2vec2, {"input_values": (2, 250)}),
    "spectrogram, fixed": (
        lambda: ASTForAudioClassification(ASTConfig(**SMALL, num_mel_bins=16, max_length=24, patch_size=8)),
        {"input_values": (2, 24, 16)},
    ),
    "spectrogram of Whisper": (whisper, {"input_features": (2, 8, 40), "decoder_input_ids": (2, 8)}),
    "spectrogram, frames first": (speech2text, {"input_features": (2, 96, 8), "decoder_input_ids": (2, 8)}),
    "features": (
        lambda: Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**SMALL, vocab_size=32, feature_projection_input_dim=8)),
        {"input_features": (2, 96, 8)},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_forward_accepts_the_probe(kind):
    build, shapes = KINDS[kind]
    model = build().eval()
    batch = probe_inputs(model)
    assert {key: tuple(value.shape) for key, value in batch.items()} == shapes
    with torch.no_grad():
        model(**batch)


def test_two_calls_give_one_batch_and_no_random_number_is_drawn():
    model = tiny_bart()
    state = torch.get_rng_state()
    one, other = probe_inputs(model), probe_inputs(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_rows_and_their_number_differ():
    batch = probe_inputs(tiny_llama(), batch_size=3)["input_ids"]
    assert batch.shape == (3, 8) and not torch.equal(batch[0], batch[1])


def test_special_tokens_stay_out():
    batch = probe_inputs(tiny_llama())["input_ids"]
    assert not set(batch.flatten().tolist()) & {0, 1, 2}
    assert batch.min() >= 0 and batch.max() < 64


def test_numbers_have_the_type_and_device_of_the_model():
    batch = probe_inputs(tiny_vit().to(torch.bfloat16).to("meta"))
    assert batch["pixel_values"].dtype == torch.bfloat16 and batch["pixel_values"].is_meta
    assert probe_inputs(tiny_llama().to(torch.bfloat16))["input_ids"].dtype == torch.int64


def test_a_model_without_a_config_or_of_an_unknown_input_has_none():
    assert probe_inputs(nn.Linear(2, 2)) is None
    model = tiny_llama()
    model.main_input_name = "past_values"
    assert probe_inputs(model) is None
